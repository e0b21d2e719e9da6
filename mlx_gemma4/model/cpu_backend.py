"""Ways around the slow spots of MLX's CPU backend. Nothing here is used on a GPU.

Measured with 150 million parameters, 128 rows and one row (`bench/peer.py`):
 - OpenBLAS multiplies one row up to 3 times faster when it is on the right.
 - MLX allocates the results of operations long before it computes them. Evaluating each large
   product at once keeps the working memory to what one layer needs.
 - `mx.fast` attention goes head by head and takes 1.3 to 1.6 times as long as one product for the
   heads that share keys; `mx.compile` calls the system's C++ compiler (2 s) and gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx

from .attention import Dense, Mask, Quantized, Uncached, grouped
from .text import gelu_times

DRAFTED_ROWS = 16  # so many, as of proposed tokens, hold little memory; waiting costs more
FEW_ROWS = 8  # below this, a dense product is faster with the matrix on the left


class DenseProducts(Dense):
    """Dense rows, multiplied as matrices."""

    def scores(self, queries: mx.array) -> mx.array:
        """(1, kv heads, M, D) -> (1, kv heads, M, rows)."""
        if queries.shape[2] < FEW_ROWS:
            return queries @ self.keys.swapaxes(-1, -2)
        # turning the few queries round is 2 to 4 times faster than the many keys
        return (self.keys @ mx.contiguous(queries.swapaxes(-1, -2))).swapaxes(-1, -2)

    def mix(self, weights: mx.array) -> mx.array:
        """(1, kv heads, M, rows) -> (1, kv heads, M, V)."""
        return weights @ self.values


def attend_piece(queries: mx.array, cached: Dense | Quantized, mask: Mask) -> mx.array:
    """As `attention.attend_piece`, evaluated at once except for few rows or for gradients."""
    if isinstance(cached, Dense):
        products = DenseProducts(cached.keys, cached.values)
        mixed = grouped(queries, products, mask, cached.keys.shape[1])
    else:
        mixed = grouped(queries, cached, mask, cached.packed[0].shape[1])
    if queries.shape[2] > DRAFTED_ROWS and not isinstance(cached, Uncached):
        mx.eval(mixed)
    return mixed


def adapt(layers: Iterable[Any]) -> None:
    """Replace the attention and activation of a decoder's layers by those for the CPU."""
    for layer in layers:
        layer.self_attn.attend_piece = attend_piece
        layer.mlp.activate = gelu_times
