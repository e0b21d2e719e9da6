"""A sound file as the pieces that one reader takes for a whole file each, with true sizes.

libsndfile reads the first of several files that were joined, and believes the sizes in a header.
Files are joined by `cat`, and sizes are wrong where a recorder wrote into a pipe or was killed.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from . import mpeg

DAMAGED = "It is damaged: a part of it cannot be read."
_UNKNOWN = 0x7FFF0000  # sizes from here on are written by programs that cannot know them
_ABSURD = 2**63  # the same, of eight bytes
_SPARE = 4096  # bytes after the end that are not accounted for: tags, padding
_SEARCH = 1 << 20
_CHUNKS = 10_000  # of a file, at most: sound has a dozen

_LAYOUTS: Mapping[bytes, tuple[int, int, int, Literal["little", "big"], int, int]] = {
    b"RIFF": (12, 4, 4, "little", 8, 2),
    b"FORM": (12, 4, 4, "big", 8, 2),
    b"riff": (40, 16, 8, "little", 0, 8),  # wave 64
    b"RF64": (12, 4, 4, "little", 8, 2),
    b"caff": (8, 4, 8, "big", 12, 1),
}
"""Of formats in chunks: where the first one is, the bytes of a name, and of a size and their order,
what of a chunk its size leaves out, and at multiples of what chunks begin."""
_FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")
# an MPEG frame's header and side information, then the mark that says how much follows
_XING = re.compile(rb"\xff[\xe2-\xff][\0-\xef].(?:.{32}|.{17}|.{9})(?:Xing|Info)", re.DOTALL)
_MPEG = re.compile(rb"ID3[\x02-\x04]|\xff[\xe2-\xff]")


@dataclass(frozen=True)
class SoundPiece:
    """Part of a file that is a file of its own.

    Attributes:
        start, stop: in bytes.
        head: what is read first, where sizes at its beginning are wrong or missing; it takes the
            place of what is before `start`.
        missing: bytes that its header announces and that are not there.
        note: what is known to be wrong with it, or nothing.
        endless: its header does not say how long it is.
    """

    start: int
    stop: int
    head: bytes = b""
    missing: int = 0
    note: str = ""
    endless: bool = False


class Window(io.RawIOBase):
    """A piece, open for reading, as a file of its own."""

    def __init__(self, file: BinaryIO, piece: SoundPiece) -> None:
        self._file, self._piece, self._at = file, piece, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the piece."""
        size = len(self._piece.head) + self._piece.stop - self._piece.start
        self._at = max(0, offset + (0, self._at, size)[whence])
        return self._at

    @property
    def left(self) -> int:
        """Bytes that are after the place in the piece."""
        return max(0, len(self._piece.head) + self._piece.stop - self._piece.start - self._at)

    def tell(self) -> int:
        """Return the place in the piece."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of any buffer
        """Fill a buffer, as far as there is content."""
        piece, at = self._piece, self._at
        if at < len(piece.head):
            data = piece.head[at : at + len(buffer)]
        else:
            place = piece.start + at - len(piece.head)
            data = _at(self._file, place, max(0, min(len(buffer), piece.stop - place)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def pieces(file: BinaryIO) -> list[SoundPiece]:
    """Cut an open file into its pieces; one where nothing is known of its format."""
    size = file.seek(0, io.SEEK_END)
    head = _at(file, 0, 12)
    if _kind(file, 0) in _ENDED:
        return list(_ended(file, size))
    if head[:4] == b"OggS":
        return list(_ogg(file, size))
    if head[:4] == b"fLaC":
        starts = [0, *(at for at in _search(file, size, _FLAC, 8) if at)]
        return [_flac(file, *part) for part in zip(starts, [*starts[1:], size], strict=True)]
    if _MPEG.match(head):
        return list(_mp3(file, size))
    return [SoundPiece(0, size)]


def _last(start: int, end: int, size: int) -> SoundPiece:
    """The last piece, which says that it ends at `end`."""
    note = f"{size - end:,} bytes after its end are not used." if size - end > _SPARE else ""
    return SoundPiece(start, size, missing=max(0, end - size), note=note)


def _ended(file: BinaryIO, size: int) -> Iterator[SoundPiece]:
    """Formats whose beginning says where they end; a stream does not."""
    start, kind = 0, _kind(file, 0)
    while start < size:
        if (stream := _stream(file, start, size, kind)) is not None:
            yield stream
            return
        end = _ENDED[kind](file, start)
        if end is None or not start < end < _ABSURD:
            yield SoundPiece(start, size)
            return
        if end >= size or _kind(file, end) != kind:
            yield _last(start, end, size)
            return
        yield SoundPiece(start, end)
        start = end


def _stream(file: BinaryIO, start: int, size: int, kind: bytes) -> SoundPiece | None:
    """What a program wrote that did not know its length: with true sizes, to the end of the file.

    None where the bytes of sound are announced. A recorder that was killed leaves the sizes of an
    empty file, one that writes into a pipe sizes that no file has.
    """
    data = start + _number(file, start + 4, 4)
    order: Literal["little", "big"] = "big"
    count, empty, places = 4, 0, [(start + 8, data)]
    if kind in _LAYOUTS:
        first, name, count, order, own, border = _LAYOUTS[kind]
        at = start + first
        for _ in range(_CHUNKS):
            if _at(file, at, 4) in (b"data", b"SSND", b""):
                break
            length = own + _number(file, at + name, count, order)
            at += -(-length // border) * border
        else:  # readers take minutes for what is nothing but chunks
            return SoundPiece(start, start, note=f"Its sound is not among {_CHUNKS:,} chunks.")
        data = at + name + count
        empty = 4 if kind == b"caff" else name + count - own
        places = [(at + name, data - (name + count - own)), (start + 4, start + 8)]
        if kind == b"riff":
            places[1] = (start + 16, start)
        elif kind == b"RF64":  # all sizes are in its first chunk
            count, places = 8, [(start + 28, data), (start + 20, start + 8)]
        elif kind == b"caff":
            places.pop()
    elif kind != b".snd":
        return None
    announced = _number(file, places[0][0], count, order)
    end = _ENDED[kind](file, start) if kind != b"caff" else None  # found by this size alone
    killed = announced <= empty and (end is None or end <= data + empty)
    unknown = announced >= (_UNKNOWN if count == 4 else _ABSURD)
    if not (killed or unknown) or data >= size or _kind(file, data) == kind:
        return None
    head = bytearray(_at(file, start, data - start))
    for place, begin in places:
        place -= start
        head[place : place + count] = min(size - begin, 2 ** (8 * count) - 1).to_bytes(count, order)
    return SoundPiece(data, size, bytes(head), endless=True)


def _kind(file: BinaryIO, at: int) -> bytes:
    head = _at(file, at, 8)
    return head[4:] if head[4:] == b"ftyp" else head[:4]


def _caf_end(file: BinaryIO, start: int) -> int | None:
    at = start + 8
    for _ in range(_CHUNKS):
        if not (name := _at(file, at, 4)) or name == b"caff":
            return at
        at += 12 + _number(file, at + 4, 8)
    return None


def _mp4_end(file: BinaryIO, start: int) -> int | None:
    at = start
    for _ in range(_CHUNKS):
        length = _number(file, at, 4)
        length = _number(file, at + 8, 8) if length == 1 else length
        if length < 8:
            return None
        at += length
        if _at(file, at + 4, 4) in (b"ftyp", b""):
            return at
    return None


def _even(count: int) -> int:
    """The bytes that so many take where all begins at an even place."""
    return count + count % 2


_ENDED: Mapping[bytes, Callable[[BinaryIO, int], int | None]] = {
    b".snd": lambda file, start: start + _number(file, start + 4, 4) + _number(file, start + 8, 4),
    b"caff": _caf_end,
    b"ftyp": _mp4_end,
    b"RIFF": lambda file, start: start + 8 + _even(_number(file, start + 4, 4, "little")),
    b"FORM": lambda file, start: start + 8 + _even(_number(file, start + 4, 4)),
    b"riff": lambda file, start: start + _number(file, start + 16, 8, "little"),
    b"RF64": lambda file, start: start + 8 + _number(file, start + 20, 8, "little"),
}


def _number(file: BinaryIO, at: int, count: int, order: Literal["little", "big"] = "big") -> int:
    return int.from_bytes(_at(file, at, count), order)


def _ogg(file: BinaryIO, size: int) -> Iterator[SoundPiece]:
    """Ogg: pages, of which the first and the last of a stream are marked."""
    start = at = 0
    opening = True
    closed = damaged = False
    while at < size:
        head = _at(file, at, 27)
        if head[:5] != b"OggS\0" or len(head) < 27:
            damaged = True
            at = next(_search(file, size, re.compile(rb"OggS\0"), 5, at + 1), size)
            continue
        first = bool(head[5] & 2)
        if first and not opening:
            yield _ogg_piece(start, at, closed, damaged)
            start, damaged = at, False
        opening, closed = first, bool(head[5] & 4)
        at += 27 + head[26] + sum(_at(file, at + 27, head[26]))
    yield _ogg_piece(start, size, closed and at == size, damaged)


def _ogg_piece(start: int, stop: int, closed: bool, damaged: bool) -> SoundPiece:
    note = DAMAGED if damaged else ""
    return SoundPiece(
        start, stop, note=note or ("" if closed else "It is cut off: its end is missing.")
    )


def _flac(file: BinaryIO, start: int, stop: int) -> SoundPiece:
    total = int.from_bytes(_at(file, start + 21, 5), "big") & (2**36 - 1)  # of STREAMINFO
    return SoundPiece(start, stop, endless=not total)


def _mp3(file: BinaryIO, size: int) -> Iterator[SoundPiece]:
    """MP3: a frame at the beginning may say how many bytes of frames follow; then comes more."""
    marks: list[int | None] = [*_search(file, size, _XING, 44)]
    begin = _after_tags(file, 0)
    if not marks or marks[0] != begin:
        marks = [None, *marks]
    starts = [0, *(mark for mark in marks[1:] if mark is not None)]
    for start, stop, mark in zip(starts, [*starts[1:], size], marks, strict=True):
        end = start if mark is None else _mp3_end(file, mark, stop)
        if end > start:
            yield SoundPiece(start, end)
        if end < stop:
            yield from _uncounted(file, end, stop)


def _uncounted(file: BinaryIO, start: int, stop: int) -> Iterator[SoundPiece]:
    """MP3s that do not count their frames: each with a count before it."""
    while start < stop:
        at = _after_tags(file, start)
        first = mpeg.header(_at(file, at, 4))
        if first is None:
            yield SoundPiece(start, stop)
            return
        frames, end = mpeg.count(lambda place, size: _at(file, place, size), at, stop)
        counted = mpeg.counting_frame(first, frames, min(end, stop) - at)
        yield SoundPiece(at, min(end, stop), counted, missing=max(0, end - stop))
        start = end if end + _SPARE < stop else stop


def _after_tags(file: BinaryIO, at: int) -> int:
    """Skip ID3 tags, whose sizes have seven bits a byte."""
    while (head := _at(file, at, 10))[:3] == b"ID3":
        at += 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(head[:5:-1]))
    return at


def _mp3_end(file: BinaryIO, mark: int, stop: int) -> int:
    """Where the frames end that the first one counts, if other frames follow; else `stop`."""
    head = _at(file, mark, 64)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[at + 4 : at + 8], "big")
    if flags & 3 != 3:  # frames and bytes are counted
        return stop
    end = mark + int.from_bytes(head[at + 12 : at + 16], "big")
    return end if stop - end > _SPARE and _MPEG.match(_at(file, end, 4)) else stop


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    try:
        file.seek(at)
    except (OSError, OverflowError, ValueError):
        return b""  # a damaged size leads beyond what a file system can hold
    return file.read(count)


def _search(
    file: BinaryIO, size: int, pattern: re.Pattern[bytes], width: int, at: int = 0
) -> Iterator[int]:
    """Find where a pattern of at most `width` bytes begins, a part of the file at a time."""
    while at < size:
        block = _at(file, at, _SEARCH + width)
        for match in pattern.finditer(block):
            if match.start() < _SEARCH:
                yield at + match.start()
        at += _SEARCH
