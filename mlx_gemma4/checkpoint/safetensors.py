"""Safetensors files by their headers: what is where, read and written without loading tensors.

The format: 8 bytes of header length, a JSON header with each tensor's type, shape and byte range,
then the bytes (https://github.com/huggingface/safetensors#format).
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .. import limits
from ..json_reader import short
from .files import weights_unusable

ITEMSIZE = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4},
    **{"F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Bytes of one number, by the format's names of types."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read, of a type of `ITEMSIZE`.

    `start` is that of its bytes, counted from the end of the file's header (`data_start`).
    """

    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ITEMSIZE[self.dtype]


def header(tensors: Mapping[str, Tensor]) -> bytes:
    """Make the head of a file that holds these tensors one after another, in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    at = 0
    for name, tensor in tensors.items():
        stop = at + tensor.nbytes
        shape = list(tensor.shape)
        entries[name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def read_header(path: Path) -> dict[str, Tensor]:
    """Read what a file holds, in the order of its bytes.

    Raises Gemma4Error where it is not a whole file, or holds a type that is not supported.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(64)
            length = struct.unpack("<Q", head[:8])[0] if size >= 8 else size
            _check_head(path, head, size, length)
            file.seek(8)
            text = file.read(length)
    except OSError as error:
        raise weights_unusable(f"{path} cannot be read ({error}).") from error
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise weights_unusable(f"{path} has no safetensors header ({error}).") from error
    if not isinstance(entries, dict):
        raise weights_unusable(f"{path} has no safetensors header ({short(entries)}).")
    entries.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, entry) for name, entry in entries.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1].start))
    at = 0
    for name, tensor in ordered.items():
        # without holes, as the format demands, so that no bytes belong to two tensors
        if tensor.start != at and tensor.nbytes:
            raise weights_unusable(f"{path} has {name} at byte {tensor.start} and not at {at}.")
        at += tensor.nbytes
    if 8 + length + at != size:
        raise weights_unusable(f"{path} has {size} bytes, and its header lists {8 + length + at}.")
    return ordered


def tensor(place: object, name: str, dtype: Any, shape: Any, start: Any) -> Tensor:
    """Make a tensor from its entry in a header.

    Raises Gemma4Error where its type is not supported, or it is no tensor.
    """
    numbers = [*shape, start] if isinstance(shape, list | tuple) else [None]
    if not isinstance(dtype, str) or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise weights_unusable(
            f"{place} describes {name} by {short((dtype, shape, start))}, which is no tensor."
        )
    if dtype not in ITEMSIZE:
        raise weights_unusable(
            f"{name} in {place} has the type {short(dtype)}, which is not supported.",
            f"Choose weights in BF16, F16 or F32, or an MLX conversion. "
            f"Supported are {', '.join(ITEMSIZE)}.",
        )
    return Tensor(dtype, tuple(shape), start)


def _tensor(path: Path, name: str, entry: Any) -> Tensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise weights_unusable(
            f"{path} describes {name} by {short(entry)}, which is no tensor."
        ) from error
    made = tensor(path, name, dtype, shape, start)
    if stop != start + made.nbytes:
        raise weights_unusable(
            f"{path} lists {name} at the bytes {short((start, stop))}, and it has {made.nbytes}."
        )
    return made


def _check_head(path: Path, head: bytes, size: int, length: int) -> None:
    """Refuse what is no safetensors file, by its first 64 bytes."""
    if head.startswith(b"version https://git-lfs"):
        raise weights_unusable(
            f"{path} is a Git LFS pointer of {size} bytes, not the weights.",
            "Run `git lfs pull`, or download the file itself.",
        )
    if head.lstrip()[:1] == b"<":
        raise weights_unusable(f"{path} is a web page of {size} bytes, not weights.")
    if 8 + length > size:
        raise weights_unusable(f"{path} has {size} bytes and is damaged or cut off in its header.")
    if length > limits.HEADER_BYTES:
        raise weights_unusable(
            f"{path} has a header of {length:,} bytes; at most {limits.HEADER_BYTES:,} are read."
        )


def data_start(file: BinaryIO) -> int:
    """Return where the tensors of an open file start, whose header `read_header` has checked."""
    return 8 + int(struct.unpack("<Q", os.pread(file.fileno(), 8, 0))[0])
