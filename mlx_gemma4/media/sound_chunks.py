"""Sound files in chunks: sizes at their start determine where they end.

In a stream these are wrong: where a recorder wrote into a pipe or was killed.
"""

from collections.abc import Callable, Generator, Mapping
from typing import BinaryIO, Literal

from .sound_window import SoundPiece, read_at

Cut = Generator[SoundPiece, None, int]
"""The pieces of one format, and where the last one ends: another may follow it there."""
_UNKNOWN = 0x7FFF0000  # sizes from here on are written by programs that cannot know them
_ABSURD = 2**63  # the same, of eight bytes
_CHUNKS = 10_000  # of a file, at most: sound has a dozen
_NAMES = frozenset(
    b"desc data pakt kuki chan free info strg mark regn umid ovvw peak edct uuid midi "  # of caf
    b"ftyp moov mdat skip wide pdin moof mfra sidx styp meta udta emsg".split()  # of mp4
)

_LAYOUTS: Mapping[bytes, tuple[int, int, int, Literal["little", "big"], int, int]] = {
    b"RIFF": (12, 4, 4, "little", 8, 2),
    b"FORM": (12, 4, 4, "big", 8, 2),
    b"riff": (40, 16, 8, "little", 0, 8),  # wave 64
    b"RF64": (12, 4, 4, "little", 8, 2),
    b"caff": (8, 4, 8, "big", 12, 1),
}
"""Of formats in chunks: where the first one is, the bytes of a name, and of a size and their order,
what of a chunk its size leaves out, and at multiples of what chunks start."""


def ended(file: BinaryIO, start: int, size: int) -> Cut:
    """Cut formats that have their size at their start; that of a stream is not true."""
    kind = kind_at(file, start)
    while kind_at(file, start) == kind:
        if (stream := _stream(file, start, size, kind)) is not None:
            yield stream
            return size
        end = ENDED[kind](file, start)
        if end is None or not start < end < _ABSURD:
            yield SoundPiece(start, size)
            return size
        yield SoundPiece(start, min(end, size), missing=max(0, end - size))
        start = min(end, size)
    return start


def _stream(file: BinaryIO, start: int, size: int, kind: bytes) -> SoundPiece | None:
    """The piece of a program that did not know its length: with true sizes, to the file's end.

    None where the bytes of sound are announced. A recorder that was killed leaves the sizes of an
    empty file, one that writes into a pipe leaves sizes that no file has.
    """
    data = start + _number(file, start + 4, 4)
    order: Literal["little", "big"] = "big"
    count, empty, places = 4, 0, [(start + 8, data)]
    if kind in _LAYOUTS:
        first, name, count, order, own, border = _LAYOUTS[kind]
        at = start + first
        for _ in range(_CHUNKS):
            if read_at(file, at, 4) in (b"data", b"SSND", b""):
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
    end = ENDED[kind](file, start) if kind != b"caff" else None  # found by this size alone
    killed = announced <= empty and (end is None or end <= data + empty)
    unknown = announced >= (_UNKNOWN if count == 4 else _ABSURD)
    if not (killed or unknown) or data >= size or kind_at(file, data) == kind:
        return None
    head = bytearray(read_at(file, start, data - start))
    for place, counted in places:
        length, at = min(size - counted, 2 ** (8 * count) - 1), place - start
        head[at : at + count] = length.to_bytes(count, order)
    return SoundPiece(data, size, bytes(head), endless=True)


def kind_at(file: BinaryIO, at: int) -> bytes:
    """The four letters of the format that starts at a place, or anything."""
    head = read_at(file, at, 8)
    return head[4:] if head[4:] == b"ftyp" else head[:4]


def _caf_end(file: BinaryIO, start: int) -> int | None:
    at = start + 8
    for _ in range(_CHUNKS):
        name, end = read_at(file, at, 4), at + 12 + _number(file, at + 4, 8)
        if name == b"caff" or _foreign(file, name, end):
            return at
        at = end
    return None


def _mp4_end(file: BinaryIO, start: int) -> int | None:
    at = start
    for _ in range(_CHUNKS):
        length, name = _number(file, at, 4), read_at(file, at + 4, 4)
        length = _number(file, at + 8, 8) if length == 1 else length
        if _foreign(file, name, at + length):
            return at
        if length < 8:
            return None
        at += length
        if read_at(file, at + 4, 4) in (b"ftyp", b""):
            return at
    return None


def _foreign(file: BinaryIO, name: bytes, end: int) -> bool:
    """Whether this is no chunk but what follows the file: no name, or an end past the file's."""
    return name not in _NAMES and not (name.isalnum() and read_at(file, end - 1, 1))


def _even(count: int) -> int:
    """Round bytes up to an even number: chunks start at even places."""
    return count + count % 2


ENDED: Mapping[bytes, Callable[[BinaryIO, int], int | None]] = {
    b".snd": lambda file, start: start + _number(file, start + 4, 4) + _number(file, start + 8, 4),
    b"caff": _caf_end,
    b"ftyp": _mp4_end,
    b"RIFF": lambda file, start: start + 8 + _even(_number(file, start + 4, 4, "little")),
    b"FORM": lambda file, start: start + 8 + _even(_number(file, start + 4, 4)),
    b"riff": lambda file, start: start + _number(file, start + 16, 8, "little"),
    b"RF64": lambda file, start: start + 8 + _number(file, start + 20, 8, "little"),
}


def _number(file: BinaryIO, at: int, count: int, order: Literal["little", "big"] = "big") -> int:
    return int.from_bytes(read_at(file, at, count), order)
