"""The forward pass for gradients: nothing is cached, and nothing is evaluated on the way.

Both would defeat what saves memory here: the backward pass computes each layer again instead of
keeping its results, and within a layer one piece of the attention scores at a time. Conversations
can go through side by side, as one matrix: each is a piece of its own in attention, and sees itself
alone. That their positions do not start at 0 changes nothing: rotary embeddings depend on distances
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import mlx.core as mx

from .attention import Piece, Step, Uncached
from .text import DecoderLayer


class Passing:
    """Takes the place of a layer's cache: rows are used once, and not kept.

    Args:
        head_dim: of the layer.
        again: as in `Uncached`.
    """

    def __init__(self, head_dim: int, again: bool) -> None:
        self._head_dim = head_dim
        self._again = again

    def update(self, _offset: int, keys: mx.array, values: mx.array | None = None) -> Uncached:
        """Take rows as `SlidingCache` does, or, with key and value in one, as `GlobalCache`."""
        if values is None:
            keys, values = keys[..., : self._head_dim], keys[..., -self._head_dim :]
        return Uncached(keys, values, self._again)


def side_by_side(steps: list[Step], lengths: Iterable[int]) -> Step:
    """One step for several conversations of these lengths, whose own steps start at row 0."""
    starts = list(accumulate(lengths, initial=0))

    def moved(cuts: Iterable[tuple[Piece, ...]]) -> tuple[Piece, ...]:
        return tuple(
            replace(piece, rows=_after(piece.rows, start), keys=_after(piece.keys, start))
            for cut, start in zip(cuts, starts, strict=False)
            for piece in cut
        )

    return Step(0, moved(one.sliding for one in steps), moved(one.full for one in steps))


def run(layer: DecoderLayer, x: mx.array, step: Step, recompute: bool, split: bool) -> mx.array:
    """Pass (1, L, hidden) through a layer.

    Args:
        recompute: the backward pass computes the layer again.
        split: the backward pass computes each piece of the scores again.
    """
    passing: Any = Passing(layer.self_attn.head_dim, split)
    if not recompute:
        return layer(x, step, passing)

    def forward(trained: dict[str, Any], x: mx.array) -> mx.array:
        layer.update(trained)
        result: mx.array = layer(x, step, passing)
        return result

    own = layer.trainable_parameters()
    again: Callable[..., mx.array] = mx.checkpoint(forward)
    result = again(own, x)
    layer.update(own)  # without what the second pass would otherwise leave in it
    return result


def _after(rows: slice, start: int) -> slice:
    return slice(rows.start + start, rows.stop + start)
