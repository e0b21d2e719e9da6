"""Ways around the slow spots of MLX's CPU backend. Nothing here is used on a GPU.

Measured with 150 million parameters, 128 rows and one row (`bench/peer.py`):
 - The matrix product of MLX's Linux wheels (the reference BLAS) is 2 to 3 times faster when the
   right-hand matrix lies by rows and not transposed, and then faster than its quantized product
   from some rows on. OpenBLAS multiplies one row up to 3 times faster when it stands on the right.
 - MLX allocates the results of operations long before it computes them. Evaluating each large
   product at once keeps the working memory to what one layer needs.
 - `mx.fast` attention goes head by head and takes 1.3 to 1.6 times as long as one product for the
   heads that share keys; `mx.compile` calls the system's C++ compiler (2 s) and gains nothing.
"""

from __future__ import annotations

import functools

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from .attention import Dense, Mask, Quantized, grouped
from .text import LanguageModel, gelu_times

FEW_ROWS = 8  # below this, a dense product is faster with the matrix on the left
MANY_ROWS = 16  # from here on, dequantizing first is the faster way
SLAB = 2**16  # numbers of a matrix that are dequantized at once
SMALL = 2**18  # numbers of a matrix that is reordered at load: for larger ones that takes too long


class DenseProducts(Dense):
    """Dense rows as matrices."""

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.keys.shape[1]

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
    """As `attention.attend_piece`, evaluated at once where it is not a single row."""
    if isinstance(cached, Dense):
        cached = DenseProducts(cached.keys, cached.values)
    mixed = grouped(queries, cached, mask)
    if queries.shape[2] > 1:
        mx.eval(mixed)
    return mixed


def adapt(model: LanguageModel) -> None:
    """Make a decoder's attention and activation those for the CPU."""
    for layer in model.model.layers:
        layer.self_attn.attend_piece = attend_piece
        layer.mlp.activate = gelu_times


@functools.cache
def second_stream() -> mx.ThreadLocalStream:
    """A stream beside the default one: the CPU computes it on a thread of its own."""
    return mx.new_thread_local_stream(mx.cpu)


def by_column(weight: mx.array) -> mx.array:
    """The same matrix stored so that its transpose, which projections multiply by, lies by rows.

    A large matrix stays as it is.
    """
    return mx.contiguous(weight.T).T if weight.size <= SMALL else weight


class LargeLinear(nn.Linear):
    """A large dense projection."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        if x.shape[-2] >= FEW_ROWS:
            x = super().__call__(x)
            mx.eval(x)
            return x
        x = (self["weight"] @ x.swapaxes(-1, -2)).swapaxes(-1, -2)
        return x + self["bias"] if "bias" in self else x


class ManyRowsLinear(nn.QuantizedLinear):
    """A quantized projection that dequantizes its matrix when many rows go through it at once."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        weight, scales, biases = self["weight"], self["scales"], self.get("biases")
        scheme = (self.group_size, self.bits, self.mode)
        if x.shape[-2] < MANY_ROWS:
            x = mx.quantized_matmul(x, weight, scales, biases, True, *scheme)
            return x + self["bias"] if "bias" in self else x
        parts = []
        rows = max(1, SLAB // x.shape[-1])
        for start in range(0, len(weight), rows):
            slab = slice(start, start + rows)
            offsets = None if biases is None else biases[slab]
            numbers = mx.dequantize(weight[slab], scales[slab], offsets, *scheme, dtype=x.dtype)
            parts.append(x @ mx.contiguous(numbers.T))
            mx.eval(parts[-1])
        x = mx.concatenate(parts, axis=-1)
        x = x + self["bias"] if "bias" in self else x
        mx.eval(x)
        return x


def use_fast_projections(model: nn.Module) -> None:
    """Replace a model's projections where one of the classes above is faster; tensors stay."""

    def replaced(module: nn.Module) -> nn.Module:
        new: nn.Module
        if isinstance(module, nn.QuantizedLinear):
            outputs, words = module["weight"].shape
            sizes = (words * 32 // module.bits, outputs, "bias" in module)
            new = ManyRowsLinear(*sizes, module.group_size, module.bits, module.mode)
        elif isinstance(module, nn.Linear) and module["weight"].size > SMALL:
            outputs, inputs = module["weight"].shape
            new = LargeLinear(inputs, outputs, "bias" in module)
        else:
            return module
        new.update(dict(module))
        return new

    model.update_modules(tree_map(replaced, model.leaf_modules(), is_leaf=nn.Module.is_module))


def quantize_float4(rows: mx.array, group_size: int, mode: str) -> tuple[mx.array, mx.array]:
    """What `mx.quantize` makes in "mxfp4" or "nvfp4", bit for bit, 5 to 10 times faster.

    For finite weights. A code is a sign and one of 0, 0.5, 1, 1.5, 2, 3, 4, 6 (FP4 E2M1), ties to
    the smaller; a scale takes the group's largest weight to 6 or less: a power of two (mxfp4, OCP
    Microscaling Formats 1.0) or an FP8 E4M3 number (nvfp4).
    """
    groups = rows.astype(mx.float32).reshape(len(rows), -1, group_size)
    largest = mx.max(mx.abs(groups), axis=-1, keepdims=True) / 6
    if mode == "mxfp4":
        exponent = mx.clip(mx.ceil(mx.log2(largest)), -127, 127)
        exponent = mx.where(largest > 0, exponent, 0)
        scales, scale = (exponent + 127).astype(mx.uint8), mx.power(2.0, exponent)
    else:
        scales = mx.to_fp8(largest)
        scale = mx.from_fp8(scales, mx.float32)
    scaled = mx.where(scale > 0, groups / scale, 0)
    size = mx.abs(scaled)
    codes = mx.zeros(size.shape, mx.uint8)
    for border in (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0):
        codes = codes + (size > border)
    codes = codes + ((scaled < 0) & (codes > 0)) * mx.array(8, mx.uint8)
    pairs = codes.reshape(len(rows), -1, 2)
    return (pairs[..., 0] | (pairs[..., 1] << 4)).view(mx.uint32), scales.squeeze(-1)
