"""A part of a file, open for reading as a file of its own."""

import io
import math
from dataclasses import dataclass
from typing import BinaryIO

DAMAGED = "It is damaged: a part of it cannot be read."


@dataclass(frozen=True)
class SoundPiece:
    """Part of a file that is a file of its own.

    Attributes:
        start, stop: in bytes.
        head: what is read first, where sizes at its start are wrong or missing; it takes the
            place of what is before `start`.
        missing: bytes that its header announces and that are not there.
        note: what is known to be wrong with it, or nothing.
        endless: its header is without its true length.
    """

    start: int
    stop: int
    head: bytes = b""
    missing: int = 0
    note: str = ""
    endless: bool = False


class Window(io.RawIOBase):
    """A piece, open for reading, as a file of its own.

    From the place `slow` on it is read a byte at a time; after `reads` times it is as if it ended.
    """

    def __init__(
        self, file: BinaryIO, piece: SoundPiece, slow: int | None = None, reads: float = math.inf
    ) -> None:
        self._file, self._piece, self._at = file, piece, 0
        self._slow, self._reads = slow, reads

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        size = len(self._piece.head) + self._piece.stop - self._piece.start
        self._at = max(0, offset + (0, self._at, size)[whence])
        return self._at

    @property
    def left(self) -> int:
        """Bytes that are after the place in the piece."""
        return max(0, len(self._piece.head) + self._piece.stop - self._piece.start - self._at)

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of any buffer
        piece, at = self._piece, self._at
        self._reads -= 1
        if self._reads < 0:
            return 0
        count = len(buffer) if self._slow is None else min(len(buffer), max(1, self._slow - at))
        if at < len(piece.head):
            data = piece.head[at : at + count]
        else:
            place = piece.start + at - len(piece.head)
            data = read_at(self._file, place, max(0, min(count, piece.stop - place)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Read from a place so many bytes, or what there is."""
    try:
        file.seek(at)
    except (OSError, OverflowError, ValueError):
        return b""  # a damaged size leads beyond what a file system can hold
    return file.read(count)
