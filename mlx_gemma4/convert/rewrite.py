"""One file of weights after another: rows are read, quantized, and appended to a new file.

MLX is used by the calling thread alone, for its evaluation may wait for ever where several threads
ask for it. One thread reads ahead, and one writes behind and hashes what it writes.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import mlx.core as mx
import numpy as np

from ..checkpoint.adapters import Adapter
from ..checkpoint.encode import as_array, encode
from ..checkpoint.safetensors import data_start, header
from .plan import File, Part, check_finite, impossible

# Bytes that are read and quantized at once. The C library returns larger blocks to the system
# and gets them again each time: with 32 MB half of a conversion's time went to the kernel.
_ROWS = 4 * 1024**2
_AHEAD = 8  # slabs that are read before they are needed
_BEHIND = 256  # jobs of writing that may wait, most of 1 MB: as long as a disk takes to sync a file


@dataclass(frozen=True)
class _Slab:
    """Some rows of a tensor: as many as are read and quantized at once."""

    part: Part
    start: int
    stop: int

    @property
    def row(self) -> int:
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
        on_progress: called with the bytes of the source that were done; False stops.
        adapter: one to merge in.

    Attributes:
        hashes: by name, SHA-256 of each file that is complete, in hex digits.
    """

    def __init__(
        self, grid: bool, on_progress: Callable[[int], bool], adapter: Adapter | None = None
    ) -> None:
        self.hashes: dict[str, str] = {}
        self._grid, self._on_progress, self._adapter = grid, on_progress, adapter
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._waiting: deque[Future[object]] = deque()
        self._last: Future[object] | None = None
        self._broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._reader.shutdown(cancel_futures=True)
            self._writer.shutdown(cancel_futures=True)

    def afterwards(self, work: Callable[[str], object], shard: str) -> None:
        """Do `work` with a file of the source when all files that need it are on the disk.

        This waits for the former call's work, so that no more than two are held at a time.
        """
        if self._last is not None:
            self._last.result()
        self._last = self._submit(work, shard)

    def write(self, file: File, source: Path, target: Path) -> bool:
        """Write one file, which gets its name when it is complete; return False if stopped."""
        out = _Output(target)
        self._submit(out.write, header(file.tensors))
        scales: list[list[bytes]] = []
        with source.open("rb") as data:
            for slab, read in self._read(data, _slabs(file)):
                packed, *others = _stored(slab, read, self._grid, self._adapter)
                self._submit(out.write, packed)
                scales.append(others)
                if slab.is_last:  # the tensor's scales follow its rows, then its biases
                    columns = zip(*scales, strict=True)
                    self._submit(out.write, b"".join(part for column in columns for part in column))
                    scales = []
                if not self._on_progress(slab.nbytes):
                    return False
        self._submit(out.complete, self.hashes)
        return True

    def _submit(self, work: Callable[..., object], *arguments: object) -> Future[object]:
        """Let the writing thread do something; an error of what it did before is raised here."""
        future: Future[object] = self._writer.submit(self._unless_broken, work, *arguments)
        self._waiting.append(future)
        while self._waiting and (len(self._waiting) > _BEHIND or self._waiting[0].done()):
            self._waiting.popleft().result()
        return future

    def _unless_broken(self, work: Callable[..., object], *arguments: object) -> object:
        """Do nothing more after an error: what is not whole gets no name, and no source is lost."""
        if self._broken:
            return None
        self._broken = True
        result = work(*arguments)
        self._broken = False
        return result

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


def _stored(slab: _Slab, read: bytes, grid: bool, adapter: Adapter | None) -> list[bytes]:
    """Rows as they are stored: packed weights, scales, and biases in affine mode."""
    if len(read) != slab.nbytes:
        raise impossible("A file of its weights became shorter.", "Run it again.")
    tensor, storage = slab.part.source, slab.part.storage
    check_finite(read, tensor, slab.part.name)
    path = slab.part.name.removesuffix(".weight")
    changes = adapter is not None and path in adapter.paths
    if storage is None and not changes:
        return [read]
    rows = as_array(read, tensor.dtype).reshape(-1, tensor.shape[1])
    if adapter is not None and changes:
        rows = adapter.merged(path, rows, slab.start).astype(rows.dtype)
        if not mx.isfinite(rows).all().item():
            raise impossible(
                f"With the adapter, {slab.part.name} holds NaN or infinity.",
                "Use the adapter without merging it in, or train it again.",
            )
    made = [rows] if storage is None else encode(rows, storage, grid)
    mx.eval(made)
    return [np.asarray(part.view(mx.uint8)).tobytes() for part in made]


class _Output:
    """A file that is written from its first byte to its last; it gets its name at the end."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._path = target.with_name(f"{target.name}.part")
        self._file, self._hash = self._path.open("wb"), hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def complete(self, hashes: dict[str, str]) -> None:
        """Rename the file to its own name when its bytes are on the disk, and note its SHA-256."""
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        self._path.replace(self.target)
        hashes[self.target.name] = self._hash.hexdigest()
