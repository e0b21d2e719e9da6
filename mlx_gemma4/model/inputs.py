"""The inputs of the model, checked: ids, patches, frames, and the blocks that pictures make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike

from ..errors import Gemma4Error

Patches: TypeAlias = tuple[ArrayLike, ArrayLike]
"""Patches (n, 6912), uint8 levels or floats in [0, 1], and positions (n, 2) as (x, y)."""


@dataclass(frozen=True)
class Inputs:
    """Embedded tokens: `embeddings` (1, T, hidden); `blocks` (T,): k in the k-th block, else 0."""

    embeddings: mx.array
    blocks: np.ndarray

    def __len__(self) -> int:
        return len(self.blocks)

    def slice(self, start: int, stop: int) -> Inputs:
        """Tokens `start` to `stop`. Raises Gemma4Error where that cuts a block."""
        for edge in (start, stop):
            if self._in_block(edge):
                raise Gemma4Error(
                    "input_unusable",
                    "The prompt cannot be cut here",
                    f"Token {edge} is inside a picture's block.",
                    "Cut at `Inputs.cuts`.",
                )
        return Inputs(self.embeddings[:, start:stop], self.blocks[start:stop])

    def cuts(self, chunk: int) -> list[tuple[int, int]]:
        """(start, stop) of consecutive chunks of at most `chunk` tokens, or of one longer block."""
        result, start = [], 0
        while start < len(self):
            stop = self.cut(start, chunk)
            result.append((start, stop))
            start = stop
        return result

    def cut(self, start: int, chunk: int) -> int:
        """The end of a chunk that starts at `start`, as in `cuts`."""
        stop = limit = min(start + chunk, len(self))
        while stop > start and self._in_block(stop):
            stop -= 1
        if stop == start:
            stop = limit
            while self._in_block(stop):
                stop += 1
        return stop

    def _in_block(self, edge: int) -> bool:
        """Whether the tokens before and after `edge` are of one block."""
        if not 0 < edge < len(self):
            return False
        return bool(self.blocks[edge] and self.blocks[edge - 1] == self.blocks[edge])


def checked_ids(token_ids: ArrayLike) -> np.ndarray:
    """(T,) ints, at least one."""
    ids = np.asarray(token_ids)
    if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
        raise unusable(
            f"Token ids have shape {ids.shape} and type {ids.dtype}.",
            "Pass one id or more, as integers of shape (T,).",
        )
    return ids.astype(np.int64)


def checked_numbers(values: ArrayLike, width: int, name: str) -> np.ndarray:
    """(n, width) finite float32, n of 1 or more; `name` is for the error."""
    array = np.asarray(values).astype(np.float32, copy=False)
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise unusable(
            f"The {name} have shape {array.shape}.", f"Pass shape (n, {width}) with n of 1 or more."
        )
    if not np.isfinite(array).all():
        raise unusable(f"Some {name} are NaN or infinite.", "Look at what made them.")
    return array


def checked_positions(positions: ArrayLike, patches: int, table: int) -> np.ndarray:
    """(patches, 2) int32 within a table of `table` entries."""
    array = np.asarray(positions)
    if array.shape != (patches, 2) or array.dtype.kind not in "iu":
        raise unusable(
            f"{patches} patches have positions of shape {array.shape} and type {array.dtype}.",
            f"Pass integers of shape ({patches}, 2).",
        )
    if array.min() < 0 or array.max() >= table:
        raise unusable(
            f"Patch positions go from {array.min()} to {array.max()}, and the table has {table}.",
            "Leave padding out, and make the picture smaller.",
        )
    return array.astype(np.int32)


def places(ids: np.ndarray, token_id: int, sizes: list[int], name: str) -> list[slice]:
    """Where each medium goes: for each of `sizes`, the next run of as many placeholders."""
    found = np.flatnonzero(ids == token_id)
    if len(found) != sum(sizes):
        raise unusable(
            f"The text has {len(found)} placeholders for {name}s, and the {len(sizes)} given "
            f"take {sum(sizes)}.",
            "Write one placeholder for each patch or frame.",
        )
    result, at = [], 0
    for n, size in enumerate(sizes, start=1):
        start, stop = int(found[at]), int(found[at + size - 1]) + 1
        if stop - start != size:
            raise unusable(
                f"The {size} placeholders of {name} {n} are not in one run.",
                "Write the placeholders of each one after the other.",
            )
        result.append(slice(start, stop))
        at += size
    return result


def unusable(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("input_unusable", "The input cannot be used", cause, remedy)
