"""The frames of an MP3 whose beginning does not count them.

A program that writes into a pipe cannot go back to write the count. Readers then guess the length
from the first frame's bit rate, and of a variable one they leave out the end. Layouts and tables
are those of ISO 11172-3 and 13818-3, layer III; the counting frame is Xing's.
"""

from collections.abc import Callable
from dataclasses import dataclass

_RATES = (44_100, 48_000, 32_000)
_KILOBITS = {  # by whether it is MPEG 1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DAMAGE = 4096  # bytes that are searched for the next frame
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


def count(read: Callable[[int, int], bytes], at: int, stop: int) -> tuple[int, int]:
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


def _next(read: Callable[[int, int], bytes], at: int) -> int | None:
    """Where frames go on after a damage: two follow each other there."""
    block = read(at, _DAMAGE)
    tag = block.find(b"ID3")  # of another file, which may hold anything
    for place in range(len(block) if tag < 0 else tag):
        if block[place] == 0xFF and (found := header(block[place : place + 4])):
            if header(read(at + place + found.size, 4)):
                return at + place
    return None


def counting_frame(first: FrameHeader, frames: int, size: int) -> bytes:
    """A silent frame that says how many frames, of how many bytes, follow it."""
    one, two = first.raw[1] | 1, _SIXTY_FOUR[first.first] << 4 | (first.raw[2] & 0x0C)
    made = header(bytes([0xFF, one, two, first.raw[3]]))
    assert made is not None
    numbers = [3, frames, size + made.size]
    mark = b"Xing" + b"".join(number.to_bytes(4, "big") for number in numbers)
    return (made.raw + bytes(made.side) + mark).ljust(made.size, b"\0")
