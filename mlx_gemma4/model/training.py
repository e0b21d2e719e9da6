"""The forward pass for gradients: nothing is cached, and nothing is evaluated on the way.

Both would defeat what saves memory here: the backward pass computes a layer again instead of
keeping what it needs of it, and within the layer a piece of the attention scores at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from .attention import Step, Uncached
from .text import DecoderLayer


class Passing:
    """What a layer has for a cache: its rows are used once, and not kept."""

    def __init__(self, head_dim: int) -> None:
        self._head_dim = head_dim

    def update(self, _offset: int, keys: mx.array, values: mx.array | None = None) -> Uncached:
        """Take rows as `SlidingCache` does, or, with key and value in one, as `GlobalCache`."""
        if values is None:
            keys, values = keys[..., : self._head_dim], keys[..., -self._head_dim :]
        return Uncached(keys, values)


def run(layer: DecoderLayer, x: mx.array, step: Step, recompute: bool) -> mx.array:
    """Pass (1, L, hidden) through a layer, which is computed again backward if `recompute`."""
    passing: Any = Passing(layer.self_attn.head_dim)
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
