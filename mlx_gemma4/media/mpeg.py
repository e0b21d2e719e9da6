"""The frames of MP3 and AAC, and the tags between files of them.

Not every MP3 counts its frames at its start: a program that writes into a pipe cannot go back
to write the count. Readers then guess the length from the first frame's bit rate, and of a variable
one they leave out the end. Layouts and tables are those of ISO 11172-3 and 13818-3, layer III, and
of 13818-7, ADTS; the counting frame is Xing's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_RATES = (44_100, 48_000, 32_000)
_KILOBITS = {  # by whether it is MPEG 1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DAMAGE = 4096  # bytes that are searched for the next frame
Read = Callable[[int, int], bytes]
"""Reads from a place so many bytes, or what there is."""
OTHER = re.compile(
    rb"ID3[\x02-\x04]\0[\0-\xf0][\0-\x7f]{4}|R(?:IFF|F64).{4}WAVE|FORM.{4}AIF[FC]|OggS\0\x02"
    rb"|fLaC[\0\x80]\0\0\x22|caff\0\x01\0|\.snd\0\0|\0\0\0[\x08-\x80]ftyp|riff\x2e\x91\xcf\x11"
    rb"|\x1aE\xdf\xa3|APETAGEX",
    re.DOTALL,
)
"""Where another file or a tag starts, in at most 12 bytes."""
_TAGS = 1000  # between two files, at most
_SIXTY_FOUR = {True: 5, False: 8}  # where 64 is in them


@dataclass(frozen=True)
class FrameHeader:
    """What the four bytes before a frame hold, as far as it is needed here."""

    raw: bytes
    first: bool  # MPEG 1
    size: int  # bytes, with these four

    @property
    def side(self) -> int:
        """Bytes of side information."""
        mono = self.raw[3] >> 6 == 3
        return (17 if mono else 32) if self.first else (9 if mono else 17)


def header(raw: bytes) -> FrameHeader | None:
    """Read the header of a frame of layer III; None where it is none, or has no bit rate."""
    if len(raw) < 4 or raw[0] != 0xFF or raw[1] & 0xE6 != 0xE2 or raw[1] & 0x18 == 0x08:
        return None
    version, kilobits, rate = raw[1] >> 3 & 3, raw[2] >> 4, raw[2] >> 2 & 3
    if not 0 < kilobits < 15 or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = _KILOBITS[first][kilobits] * 1000
    size = (144 if first else 72) * bits // hertz + (raw[2] >> 1 & 1)
    return FrameHeader(raw[:4], first, size)


def follows(read: Read, at: int, length: Callable[[bytes], int]) -> bool:
    """Whether three frames of one kind are at a place, or all up to the end: no match by chance."""
    first = read(at, 7)
    for _ in range(3):
        raw = read(at, 7)
        if raw and (raw[:2] != first[:2] or not length(raw)):
            return False
        at += length(raw)
    return bool(first)


def layer3(raw: bytes) -> int:
    """The bytes of a frame of layer III with its header, which is given; 0 where it is none."""
    found = header(raw[:4])
    return found.size if found else 0


def adts(raw: bytes) -> int:
    """The bytes of a frame of AAC with the seven before it, which are given; 0 where it is none."""
    if len(raw) < 7 or raw[0] != 0xFF or raw[1] & 0xF6 != 0xF0:
        return 0
    size = (raw[3] & 3) << 11 | raw[4] << 3 | raw[5] >> 5
    return size if size > 7 else 0


def after_tags(read: Read, at: int) -> int:
    """Skip tags: ID3, whose sizes have seven bits a byte, ID3 of version 1, APE and Lyrics3."""
    for _ in range(_TAGS):
        head = read(at, 16)
        if head[:3] == b"ID3" and len(head) >= 10:
            at += 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(head[9:5:-1]))
        elif head[:3] == b"TAG":
            at += 128
        elif head[:8] == b"APETAGEX" and len(head) == 16:
            at += 32 + int.from_bytes(head[12:], "little")
        elif head[:11] == b"LYRICSBEGIN" and (end := read(at, 1 << 20).find(b"LYRICS200")) > 0:
            at += end + 9
        else:
            break
    return at


def count(read: Read, at: int, stop: int) -> tuple[int, int]:
    """Count the frames from a place on, and find the end of the last one, which may be missing."""
    frames = 0
    while at < stop:
        if found := header(read(at, 4)):
            at += found.size
            frames += 1
        elif (more := _next(read, at)) is not None:
            at = more
        else:
            break
    return frames, at


def _next(read: Read, at: int) -> int | None:
    """Find where frames continue after damage: two follow each other there."""
    block = read(at, _DAMAGE)
    other = OTHER.search(block)  # which may hold anything
    for place in range(other.start() if other else len(block)):
        if block[place] == 0xFF and (found := header(block[place : place + 4])):
            if header(read(at + place + found.size, 4)):
                return at + place
    return None


def counting_frame(first: FrameHeader, frames: int, size: int) -> bytes:
    """Make a silent frame that counts the frames after it, and their bytes."""
    one, two = first.raw[1] | 1, _SIXTY_FOUR[first.first] << 4 | (first.raw[2] & 0x0C)
    made = header(bytes([0xFF, one, two, first.raw[3]]))
    assert made is not None
    numbers = [3, frames, size + made.size]
    mark = b"Xing" + b"".join(number.to_bytes(4, "big") for number in numbers)
    return (made.raw + bytes(made.side) + mark).ljust(made.size, b"\0")
