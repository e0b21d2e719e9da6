"""The tensors of layers: as they are in files, their digests, and those that a worker keeps.

A digest covers names, types, shapes and bytes as they are stored, so that layers of any folder can
be compared without loading them. Kept layers are one safetensors file each, named by its digest.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import mlx.core as mx

from ..checkpoint.files import weight_files
from ..checkpoint.load import sanitize
from ..checkpoint.safetensors import Tensor, data_start, read_header
from ..errors import Gemma4Error
from ..hub import disk
from .cut import layer_tensors

_PIECE = 1 << 22
_UNFINISHED = f"new-{'[0-9a-f]' * 16}.safetensors"
_WRITING = 3600.0  # seconds that a layer takes at most to be written


@dataclass(frozen=True)
class StoredTensor:
    path: Path
    tensor: Tensor


def stored(paths: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors of safetensors files, by the module tree's names."""
    found = {
        name: StoredTensor(path, tensor)
        for path in paths
        for name, tensor in read_header(path).items()
    }
    return sanitize(found)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    return stored(weight_files(folder).values())


def digest(tensors: Mapping[str, StoredTensor]) -> str:
    """The digest of a layer, whose names count it as layer 0; reads all its bytes."""
    result = hashlib.sha256()
    for name, held in sorted(tensors.items()):
        result.update(f"{name} {held.tensor.dtype} {held.tensor.shape} ".encode())
        with held.path.open("rb") as file:
            file.seek(data_start(file) + held.tensor.start)
            left = held.tensor.nbytes
            while left and (piece := file.read(min(left, _PIECE))):
                result.update(piece)
                left -= len(piece)
    return result.hexdigest()


class KeptLayers:
    """The layers that a worker has: in a model folder of its own, and those that it has kept.

    Args:
        folder: a model folder, or None.
        keep: where layers are kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None, keep: Path | None) -> None:
        self._own = stored_tensors(disk.expanded(folder)) if folder is not None else {}
        self._keep = keep
        for unfinished in keep.glob(_UNFINISHED) if keep is not None else ():
            if unfinished.stat().st_mtime < time.time() - _WRITING:  # its writer was killed
                unfinished.unlink(missing_ok=True)

    def digests(self, layers: range) -> list[str]:
        """The digests of these layers in its own folder, and of all kept ones."""
        own = [digest(found) for n in layers if (found := layer_tensors(self._own, n))]
        return own + [path.stem for path in self._files()]

    def read(self, wanted: str, layers: range) -> dict[str, mx.array]:
        """The tensors of a layer that is here, lazily.

        Raises:
            Gemma4Error: it is not here, or it was changed.
        """
        for layer in layers:
            tensors = layer_tensors(self._own, layer)
            if tensors and digest(tensors) == wanted:
                return layer_tensors(_loaded(held.path for held in tensors.values()), layer)
        for path in self._files():
            if path.stem == wanted and digest(stored([path])) == wanted:
                return _loaded([path])
        raise Gemma4Error(
            "layer_changed",
            "A kept layer was changed",
            f"{wanted[:12]} is not what it was when it was kept.",
            f"Remove {self._keep}, and start again.",
        )

    def add(self, named: str, tensors: Mapping[str, mx.array]) -> None:
        """Keep a layer, if layers are kept.

        Raises:
            Gemma4Error: there is no room for it, or it may not be written.
        """
        if self._keep is None:
            return
        try:
            self._keep.mkdir(parents=True, exist_ok=True, mode=0o700)
            making = self._keep / f"new-{secrets.token_hex(8)}.safetensors"
            mx.save_safetensors(str(making), dict(tensors))
            making.replace(self._keep / f"{named}.safetensors")
        except (OSError, RuntimeError) as error:  # MLX's own where the disk is full
            raise Gemma4Error(
                "folder_unwritable",
                "The layers cannot be kept",
                f"{self._keep}: {error}.",
                "Make room there, or leave out --keep-layers.",
            ) from error

    def keep_only(self, wanted: Iterable[str]) -> None:
        names = set(wanted)
        for path in self._files():
            if path.stem not in names:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        found = self._keep.glob("*.safetensors") if self._keep is not None else ()
        return [path for path in found if len(path.stem) == hashlib.sha256().digest_size * 2]


def _loaded(paths: Iterable[Path]) -> dict[str, mx.array]:
    tensors: dict[str, mx.array] = {}
    for path in set(paths):
        tensors |= cast(dict[str, mx.array], mx.load(str(path)))
    return sanitize(tensors)
