"""Parked KV rows: prefix caches on disk, found again by the longest prefix of rows.

    <folder>/<owner>/<kind>-<digest>.safetensors    the cache's tensors
    <folder>/<owner>/<kind>-<digest>.json           its rows, and the checksum of the tensors

`kind` is a digest of all that rows depend on besides the tokens (`kind_of`), `digest` that of the
rows. The JSON file is written last and names a whole file. Everything here can be computed again:
a file that is damaged or does not fit is removed and never an error. Other files are left alone.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np

from ..errors import Gemma4Error
from ..hub import disk
from ..model.gemma4 import Gemma4
from .prefix_cache import PrefixCache
from .rows import Row, common

_INDEX = re.compile(r"([0-9a-f]{16})-([0-9a-f]{48})\.json")
_OWNER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
UNFINISHED = re.compile(r"new-[0-9a-f]+\.(json|npy|npz|safetensors)")
"""The names of files that are being written."""
_WORTH = 64  # rows: to read fewer takes no longer than to load a file that continues otherwise
_SAMPLE = 16  # values of each tensor, which distinguish models of one shape
_DIGESTS: WeakKeyDictionary[PrefixCache, tuple[Sequence[Row], str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class ParkedPrefix:
    """What a JSON file holds: the rows, the fewest that can be gone back to, the checksum."""

    rows: list[Row]
    earliest: int
    sha256: str


class PrefixStore:
    """Prefix caches on disk, each of an owner.

    Args:
        folder: where; it is made, readable by this user only.
        max_bytes: the most that all owners' files may take: the oldest are removed first.
    """

    def __init__(self, folder: str | Path, max_bytes: float = float("inf")) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes

    def park(self, owner: str, cache: PrefixCache) -> bool:
        """Write what a cache holds; an owner's earlier cache of the same kind is replaced.

        Returns:
            Whether anything was written: not if it is there already, or larger than `max_bytes`.

        Raises:
            Gemma4Error: the disk is too small, or the folder cannot be written.
        """
        kind, folder = kind_of(cache), self._folder / _folder_name(owner)
        name = f"{kind}-{_digest_of_rows(cache)}"
        index, tensors = folder / f"{name}.json", folder / f"{name}.safetensors"
        if index.is_file() and tensors.is_file():
            with suppress(OSError):
                os.utime(index)
            return False
        if cache.nbytes > self._max_bytes:
            return False
        with disk.explained():
            disk.make_private(self._folder)
        with disk.explained(), locked(folder):
            making = folder / f"new-{secrets.token_hex(8)}.safetensors"
            disk.need_space(folder, cache.nbytes)
            held, earliest = cache.tensors()
            try:
                with making.open("wb") as file:  # not MLX: it hides the reason
                    mx.save_safetensors(file, held)
            except OSError:
                making.unlink(missing_ok=True)
                raise
            making.chmod(disk.PRIVATE)
            checksum = _hash_of_file(making)
            making.replace(tensors)
            runs = _runs(cache.rows)
            text = json.dumps({"rows": runs, "earliest": earliest, "sha256": checksum})
            write(index, text.encode())
            for path in folder.glob(f"{kind}-*"):
                if path.stem != name:
                    path.unlink(missing_ok=True)
        self._remove_unfinished()
        self._remove_oldest(index)
        return True

    def longest(self, cache: PrefixCache, rows: Sequence[Row]) -> int:
        """How many of these rows `fill` would make a cache hold; 0 where it would not fill it."""
        return max((count for count, _, _ in self._found(cache, rows)), default=0)

    def fill(self, cache: PrefixCache, rows: Sequence[Row]) -> str | None:
        """Make a cache hold the longest prefix of these rows that is parked.

        Returns:
            The name of the owner whose rows they are; None where it was not filled, as where it
            already holds as many of them.
        """
        for count, index, parked in sorted(self._found(cache, rows), key=lambda one: -one[0]):
            path = index.with_suffix(".safetensors")
            try:
                if _hash_of_file(path) == parked.sha256:
                    tensors = mx.load(str(path))
                    assert isinstance(tensors, dict)
                    mx.eval(tensors)  # the file may be removed by the next park
                    cache.fill(tensors, parked.rows)
                    cache.go_back(count)
                    os.utime(index)
                    return index.parent.name
            except (OSError, ValueError, RuntimeError, Gemma4Error):
                pass
            _remove(index)
        return None

    def _found(
        self, cache: PrefixCache, rows: Sequence[Row]
    ) -> list[tuple[int, Path, ParkedPrefix]]:
        """What is parked and worth loading: how many of these rows it has, and where it is."""
        kind, held, found = kind_of(cache), common(rows, cache.rows), []
        for index in self._folder.glob(f"*/{kind}-*.json"):
            parked = _read(index)
            if parked is None or (count := common(rows, parked.rows)) < parked.earliest:
                continue
            if count >= held + _WORTH or count == len(parked.rows) > held:
                found.append((count, index, parked))
        return found

    def remove(self, owner: str) -> None:
        """Remove what was parked for an owner."""
        shutil.rmtree(self._folder / _folder_name(owner), ignore_errors=True)

    def _remove_unfinished(self) -> None:
        """Remove what killed writers left, of any owner."""
        for folder in self._folder.glob("*"):
            with suppress(OSError), cleaned(folder):
                for tensors in folder.glob("*.safetensors"):
                    index = tensors.with_suffix(".json")
                    if _INDEX.fullmatch(index.name) and not index.exists():
                        tensors.unlink()

    def _remove_oldest(self, newest: Path) -> None:
        files = []
        for index in self._folder.glob("*/*.json"):
            with suppress(OSError):
                if _INDEX.fullmatch(index.name):
                    tensors = index.with_suffix(".safetensors")
                    size = index.stat().st_size + tensors.stat().st_size
                    files.append((index != newest, -index.stat().st_mtime_ns, size, index))
        total = 0
        for _, _, size, index in sorted(files):
            total += size
            if total > self._max_bytes:
                _remove(index)


def kind_of(cache: PrefixCache) -> str:
    """Sixteen hex digits: the model's fingerprint, the layout of its rows, and kv_bits."""
    model = cache.model
    dtype = model.language_model.model.norm.weight.dtype
    kind = f"{fingerprint(model)} {model.mask_rule} {model.layout} {cache.kv_bits} {dtype}"
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


def fingerprint(model: Gemma4) -> str:
    """A model's name, made of its shape and some values of each of its tensors."""
    if (known := getattr(model, "_fingerprint", None)) is not None:
        return str(known)
    config = model.config
    digest = hashlib.sha256(
        repr((config.text_config, config.vision_config, config.audio_config)).encode()
    )
    for name, tensor in sorted(model.tensors().items()):
        values = tensor.reshape(-1)[:_SAMPLE].astype(mx.float32)
        digest.update(f"{name} {tensor.shape}".encode() + np.array(values).tobytes())
    model._fingerprint = digest.hexdigest()  # reads every tensor: once is enough
    return str(model._fingerprint)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only writer in a private folder, which is made; unfinished files are removed."""
    disk.make_private(folder)
    with cleaned(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def cleaned(folder: Path, lock: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> Iterator[None]:
    """Lock a folder and remove unfinished files; OSError if a writer has it, or it cannot open."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, lock)
        for path in folder.iterdir():
            if UNFINISHED.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a private file that is there whole or not at all; its folder is locked."""
    making = path.with_name(f"new-{secrets.token_hex(8)}{path.suffix}")
    disk.write(path, content, making, disk.PRIVATE)


def _folder_name(owner: str) -> str:
    return owner if _OWNER.fullmatch(owner) else hashlib.sha256(owner.encode()).hexdigest()[:32]


def _digest_of_rows(cache: PrefixCache) -> str:
    known = _DIGESTS.get(cache)
    if known is None or known[0] is not cache.rows:
        digest = hashlib.sha256(json.dumps(_runs(cache.rows)).encode()).hexdigest()[:48]
        known = _DIGESTS[cache] = (cache.rows, digest)
    return known[1]


def _runs(rows: Sequence[Row]) -> list[Any]:
    """Rows for JSON: ids, and [digest, how many follow each other] of patches and frames."""
    runs: list[Any] = []
    for row, group in groupby(rows):
        if isinstance(row, int):
            runs += group
        else:
            name = row if isinstance(row, str) else row.hex()
            runs.append([name, len(list(group))])
    return runs


def _read(index: Path) -> ParkedPrefix | None:
    """What a JSON file holds; a damaged one is removed."""
    try:
        return _read_index(index, index.stat().st_mtime_ns)
    except FileNotFoundError:  # removed by another process
        return None
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        _remove(index)
        return None


@lru_cache(maxsize=256)
def _read_index(index: Path, changed: int) -> ParkedPrefix:
    """Read a JSON file that was changed then. Raises where it is not what was written."""
    named = _INDEX.fullmatch(index.name)
    value = json.loads(index.read_bytes())
    runs = value["rows"]
    if named is None or hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:48] != named[2]:
        raise ValueError("the checksum of its rows is wrong")
    rows: list[Row] = []
    for run in runs:
        if isinstance(run, int):
            rows.append(run)
        else:
            name, count = run
            rows += [name if len(name) == 64 else bytes.fromhex(name)] * count
    return ParkedPrefix(rows, int(value["earliest"]), str(value["sha256"]))


def _remove(index: Path) -> None:
    for path in (index, index.with_suffix(".safetensors")):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
