"""What each row of a step sees, and attention itself. Knows positions and blocks, no layers.

A *block* is one picture or one video frame; block 0 is everything else. The mask rules:
  "official"  Full layers are causal, sliding layers (causal OR same block) AND in the window, as in
              google-deepmind/gemma, vLLM and transformers `create_masks_for_vision_model`. The
              window is one-sided, as in the latter two: in a block longer than the window, a row
              sees `window` rows back and all that follow.
  "forward"   transformers 5.23 `forward`: same block is enough, on every layer and at any distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import mlx.core as mx
import numpy as np

from .config import unknown_setting

MaskRule = Literal["official", "forward"]
Mask = mx.array | Literal["causal"] | None


def check_rule(rule: str) -> None:
    """Raise Gemma4Error if there is no such mask rule."""
    if rule not in get_args(MaskRule):
        raise unknown_setting("mask_rule", rule, " or ".join(get_args(MaskRule)))


@dataclass(frozen=True)
class Piece:
    """Queries `rows` of a step see `keys` of the layer's view, through `mask`."""

    rows: slice
    keys: slice
    mask: Mask


@dataclass(frozen=True)
class Step:
    """One forward: `offset` rows are cached already, and what the new ones see on either layer."""

    offset: int
    sliding: tuple[Piece, ...]
    full: tuple[Piece, ...]


def visible(
    queries: np.ndarray,
    keys: np.ndarray,
    query_blocks: np.ndarray,
    key_blocks: np.ndarray,
    window: int | None,
    rule: MaskRule,
) -> np.ndarray:
    """The mask, from positions and blocks: bool (queries, keys). No window means a full layer."""
    seen: np.ndarray = keys <= queries[:, None]
    same_block = (query_blocks[:, None] == key_blocks) & (query_blocks[:, None] > 0)
    if rule == "official" and window is not None:
        seen = seen | same_block
    if window is not None:
        seen = seen & (keys > queries[:, None] - window)
    if rule == "forward":
        seen = seen | same_block
    return seen


def pieces(
    offset: int, blocks: np.ndarray, window: int | None, rule: MaskRule, max_scores: int
) -> tuple[Piece, ...]:
    """Cut a step so that no piece has more than `max_scores` query-key pairs (unless one row has).

    Args:
        offset: rows already cached. A layer's view starts at row `max(0, offset - window + 1)`.
        blocks: (L,) block of each new row. Cached rows are of none of them, because a step never
            ends inside a block.
        window: rows a sliding layer sees, or None for a full layer.
        rule: the mask rule.
        max_scores: query-key pairs of one piece.
    """
    length = len(blocks)
    first = 0 if window is None else max(0, offset - window + 1)
    overlaid = bool(blocks.any()) and (window is not None or rule == "forward")
    step = length
    while step > 1:
        keys_seen = offset + length - first
        if window is not None:
            keys_seen = min(keys_seen, window - 1 + step)
        if step * keys_seen <= max_scores:
            break
        step = (step + 1) // 2
    result = []
    for a in range(0, length, step):
        b = min(a + step, length)
        start = first if window is None else max(first, offset + a - window + 1)
        stop = offset + b
        in_block = overlaid and bool(blocks[a:b].any())
        if in_block:  # a block that is cut here still sees all of itself
            start = min(start, offset + a - _same_before(blocks[: a + 1]))
            stop += _same_before(blocks[b - 1 :][::-1])
        mask: Mask = "causal" if b - a > 1 else None
        if in_block or (window is not None and stop - window > start):
            queries, keys = np.arange(offset + a, offset + b), np.arange(start, stop)
            key_blocks = np.where(keys < offset, 0, blocks[np.maximum(keys - offset, 0)])
            mask = mx.array(visible(queries, keys, blocks[a:b], key_blocks, window, rule))
        result.append(Piece(slice(a, b), slice(start - first, stop - first), mask))
    return tuple(result)


def _same_before(blocks: np.ndarray) -> int:
    """How many rows before the last one are of its block."""
    return int((blocks[:-1] == blocks[-1]).sum()) if blocks[-1] else 0


@dataclass(frozen=True)
class Dense:
    """Cached keys (1, kv heads, rows, D) and values (1, kv heads, rows, V)."""

    keys: mx.array
    values: mx.array

    def view(self, rows: slice) -> Dense:
        return Dense(self.keys[:, :, rows], self.values[:, :, rows])


@dataclass(frozen=True)
class Uncached(Dense):
    """Rows of a pass for gradients (`training.py`): nothing is evaluated.

    Attributes:
        again: the backward pass computes each piece again, and holds the scores of one.
    """

    again: bool = False

    def view(self, rows: slice) -> Uncached:
        return Uncached(self.keys[:, :, rows], self.values[:, :, rows], self.again)


@dataclass(frozen=True)
class Quantized:
    """Cached rows of `width` dims, quantized: keys are the first `head_dim` dims, values the last.

    Slicing a quantized row would copy it. So queries are padded with zeros to the whole row, and
    the result's leading dims are dropped: the same numbers.
    """

    packed: tuple[mx.array, mx.array, mx.array]  # numbers, scales, biases
    group_size: int
    bits: int
    width: int
    head_dim: int

    def view(self, rows: slice) -> Quantized:
        numbers, scales, biases = (array[:, :, rows] for array in self.packed)
        return replace(self, packed=(numbers, scales, biases))

    def scores(self, queries: mx.array) -> mx.array:
        """(1, kv heads, M, D) -> (1, kv heads, M, rows)."""
        padded = mx.pad(queries, [(0, 0), (0, 0), (0, 0), (0, self.width - self.head_dim)])
        return self._product(padded, transpose=True)

    def mix(self, weights: mx.array) -> mx.array:
        """(1, kv heads, M, rows) -> (1, kv heads, M, V)."""
        return self._product(weights, transpose=False)[..., -self.head_dim :]

    def _product(self, x: mx.array, transpose: bool) -> mx.array:
        numbers, scales, biases = self.packed
        group_size, bits = self.group_size, self.bits
        return mx.quantized_matmul(x, numbers, scales, biases, transpose, group_size, bits)


AttendPiece = Callable[[mx.array, Dense | Quantized, Mask], mx.array]


def attend(
    queries: mx.array, cached: Dense | Quantized, cut: tuple[Piece, ...], attend_piece: AttendPiece
) -> mx.array:
    """Attention with scale 1.0, piece by piece: (1, heads, L, D) -> (1, heads, L, V)."""
    if len(cut) == 1:
        return attend_piece(queries, cached, cut[0].mask)
    results = []
    for piece in cut:
        view = cached.view(piece.keys)
        if isinstance(view, Uncached):
            results.append(_attend_uncached(queries[:, :, piece.rows], view, piece, attend_piece))
            continue
        results.append(attend_piece(queries[:, :, piece.rows], view, piece.mask))
        mx.eval(results[-1])  # MLX allocates ahead of its work: else for many pieces at once
    return mx.concatenate(results, axis=2)


def _attend_uncached(
    queries: mx.array, cached: Uncached, piece: Piece, attend_piece: AttendPiece
) -> mx.array:
    def attended(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        return attend_piece(queries, Uncached(keys, values), piece.mask)

    again: Callable[..., mx.array] = mx.checkpoint(attended) if cached.again else attended
    return again(queries, cached.keys, cached.values)


def attend_piece(queries: mx.array, cached: Dense | Quantized, mask: Mask) -> mx.array:
    """MLX's own attention where rows are dense.

    Its "causal" aligns the last query with the last key, as needed here.
    """
    if isinstance(cached, Quantized):
        return grouped(queries, cached, mask, cached.packed[0].shape[1])
    return mx.fast.scaled_dot_product_attention(
        queries, cached.keys, cached.values, scale=1.0, mask=mask
    )


def grouped(queries: mx.array, cached: Any, mask: Mask, kv_heads: int) -> mx.array:
    """Attention in which query heads that share a KV head are rows of one matrix product.

    `cached` is `Quantized`, or has its `scores` and `mix`.
    """
    _, heads, length, dims = queries.shape
    # (1, heads, L, D) -> (1, kv heads, heads / kv heads * L, D)
    scores = cached.scores(queries.reshape(1, kv_heads, -1, dims))
    if mask is not None:
        rows = scores.shape[-1]
        if isinstance(mask, str):
            mask = mx.arange(rows) <= mx.arange(rows - length, rows)[:, None]
        by_head = scores.reshape(1, heads, length, rows)
        scores = mx.where(mask, by_head, -math.inf).reshape(scores.shape)
    mixed: mx.array = cached.mix(mx.softmax(scores, axis=-1, precise=True))
    return mixed.reshape(1, heads, length, -1)
