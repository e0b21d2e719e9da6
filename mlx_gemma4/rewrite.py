"""One file of weights after another: rows are read, quantized, and appended to a new file.

MLX is used by the calling thread alone, for its evaluation may wait for ever where several threads
ask for it. One thread reads ahead, and one writes behind.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import mlx.core as mx
import numpy as np

from .encode import encode
from .plan import File, Part, impossible
from .shards import data_start, header

_ROWS = 32 * 1024**2  # bytes that are read and quantized at once
_AHEAD = 3  # slabs that are read before they are needed, and jobs of writing that may wait
_NUMBERS = {
    "BF16": (np.uint16, mx.bfloat16),
    "F16": (np.float16, mx.float16),
    "F32": (np.float32, mx.float32),
}


@dataclass(frozen=True)
class _Slab:
    """Some rows of a tensor: as many as are read and quantized at once."""

    part: Part
    start: int
    stop: int

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return self.part.source.nbytes // self.part.source.shape[0]

    @property
    def nbytes(self) -> int:
        return self.row * (self.stop - self.start)

    @property
    def is_last(self) -> bool:
        return self.stop == self.part.source.shape[0]


class Rewriter:
    """Writes the files of a plan. Leaving the context waits until all is on the disk.

    Args:
        grid: see `Recipe.grid`.
        told: called with the bytes of the source that were done; False stops.
    """

    def __init__(self, grid: bool, told: Callable[[int], bool]) -> None:
        self._grid, self._told = grid, told
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._waiting: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._reader.shutdown(cancel_futures=True)
            self._writer.shutdown(cancel_futures=True)

    def afterwards(self, work: Callable[..., object], *arguments: object) -> None:
        """Do something when all that was asked for before is done.

        An error of what was asked for before is raised here.
        """
        self._waiting.append(self._writer.submit(work, *arguments))
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def write(self, file: File, source: Path, target: Path) -> bool:
        """Write one file, which gets its name when it is complete.

        Returns:
            Whether it will: False if it was stopped.
        """
        making = target.with_name(f"{target.name}.part")
        out = making.open("wb")
        self.afterwards(out.write, header(file.tensors))
        scales: list[list[bytes]] = []
        with source.open("rb") as data:
            for slab, read in self._read(data, _slabs(file)):
                packed, *others = _stored(slab, read, self._grid)
                self.afterwards(out.write, packed)
                scales.append(others)
                if slab.is_last:  # the tensor's scales follow its rows, then its biases
                    columns = zip(*scales, strict=True)
                    self.afterwards(
                        out.write, b"".join(part for column in columns for part in column)
                    )
                    scales = []
                if not self._told(slab.nbytes):
                    return False
        self.afterwards(_complete, out, making, target)
        return True

    def _read(self, data: BinaryIO, slabs: Iterable[_Slab]) -> Iterator[tuple[_Slab, bytes]]:
        start = data_start(data)
        running: deque[tuple[_Slab, Future[bytes]]] = deque()
        for slab in slabs:
            at = start + slab.part.source.start + slab.start * slab.row
            running.append((slab, self._reader.submit(os.pread, data.fileno(), slab.nbytes, at)))
            if len(running) > _AHEAD:
                first, read = running.popleft()
                yield first, read.result()
        for first, read in running:
            yield first, read.result()


def _slabs(file: File) -> Iterator[_Slab]:
    for part in file.parts:
        rows = part.source.shape[0]
        step = max(1, _ROWS * rows // part.source.nbytes)
        for start in range(0, rows, step):
            yield _Slab(part, start, min(start + step, rows))


def _stored(slab: _Slab, read: bytes, grid: bool) -> list[bytes]:
    """Rows as they are stored: packed weights, scales, and biases in affine mode."""
    if len(read) != slab.nbytes:
        raise impossible("A file of its weights became shorter.", "Run it again.")
    tensor, storage = slab.part.source, slab.part.storage
    if storage is None:
        return [read]
    plain, dtype = _NUMBERS[tensor.dtype]
    rows = mx.array(np.frombuffer(read, plain).reshape(-1, tensor.shape[1])).view(dtype)
    made = encode(rows, storage, grid)
    mx.eval(made)
    return [np.asarray(part.view(mx.uint8)).tobytes() for part in made]


def _complete(file: BinaryIO, path: Path, name: Path) -> None:
    """Give a file its name when its bytes are on the disk."""
    with file:
        file.flush()
        os.fsync(file.fileno())
    path.replace(name)
