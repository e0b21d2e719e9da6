"""Safetensors files by their headers: what lies where, read and written without loading tensors.

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
from typing import BinaryIO

from ..errors import Gemma4Error

ITEMSIZE = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4},
    **{"F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Bytes of one number, by the format's names of types."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read.

    Attributes:
        dtype: one of `ITEMSIZE`.
        start: where its bytes begin, after the file's header (`data_start`).
    """

    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
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

    Raises:
        Gemma4Error: it is not a whole safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise _unusable(
                f"{path} is a Git LFS pointer of {size} bytes, not the weights.",
                "Run `git lfs pull`, or download the file itself.",
            )
        if head.lstrip()[:1] == b"<":
            raise _unusable(f"{path} is a web page of {size} bytes, not weights.")
        length = struct.unpack("<Q", head[:8])[0] if size >= 8 else size
        if 8 + length > size:
            raise _unusable(f"{path} has {size} bytes and is damaged or cut off in its header.")
        file.seek(8)
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            tensors = {
                name: Tensor(entry["dtype"], tuple(entry["shape"]), entry["data_offsets"][0])
                for name, entry in entries.items()
            }
            ends = (tensor.start + tensor.nbytes for tensor in tensors.values())
            stop = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(f"{path} has no safetensors header ({error!r}).") from error
    if stop != size:
        raise _unusable(f"{path} has {size} bytes, and its header says {stop}.")
    return dict(sorted(tensors.items(), key=lambda item: item[1].start))


def data_start(file: BinaryIO) -> int:
    """Say how long the header of an open file is, which `read_header` has found good."""
    return 8 + int(struct.unpack("<Q", os.pread(file.fileno(), 8, 0))[0])


def _unusable(cause: str, remedy: str = "Download or convert the model again.") -> Gemma4Error:
    return Gemma4Error("weights_unusable", "The model's weights cannot be loaded", cause, remedy)
