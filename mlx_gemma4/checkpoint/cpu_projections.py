"""Projections that are faster on MLX's CPU backend. Nothing here is used on a GPU.

The matrix product of MLX's Linux wheels (the reference BLAS) is 2 to 3 times faster when the
right-hand matrix is stored by rows and not transposed, and then faster than MLX's quantized product
from some number of rows on (`bench/peer.py`).
"""

import functools
from collections.abc import Callable, Iterator

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from ..model.cpu_backend import FEW_ROWS

MANY_ROWS = 16  # from here on, dequantizing first is the faster way
SLAB = 2**16  # numbers of a matrix that are dequantized at once
TRAINED_SLAB = 2**22  # so that temporary arrays are small beside a large matrix
SMALL = 2**18  # numbers of a matrix that is reordered at load: for larger ones that takes too long


@functools.cache
def second_stream() -> mx.ThreadLocalStream:
    """A stream beside the default one: the CPU computes it on a thread of its own."""
    return mx.new_thread_local_stream(mx.cpu)


def by_column(weight: mx.array) -> mx.array:
    """The same matrix; of a small one, the transpose, which projections use, is stored by rows."""
    return mx.contiguous(weight.T).T if weight.size <= SMALL else weight


class LargeLinear(nn.Linear):
    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        if x.shape[-2] >= FEW_ROWS:
            mx.eval(x := super().__call__(x))
            return x
        x = (self["weight"] @ x.swapaxes(-1, -2)).swapaxes(-1, -2)
        return x + self["bias"] if "bias" in self else x


class ManyRowsLinear(nn.QuantizedLinear):
    """A quantized projection that dequantizes its matrix when many rows go through it at once."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        if x.shape[-2] < MANY_ROWS:
            few: mx.array = super().__call__(x)  # type: ignore[no-untyped-call]
            return few
        parts = []
        for numbers in _slabs(self, SLAB, x.dtype):
            parts.append(x @ mx.contiguous(numbers.T))
            mx.eval(parts[-1])
        x = mx.concatenate(parts, axis=-1)
        x = x + self["bias"] if "bias" in self else x
        mx.eval(x)
        return x


class TrainingLinear(nn.QuantizedLinear):
    """A quantized projection for gradients: dequantized in large slabs, and nothing evaluated."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        x = mx.concatenate([x @ w.T for w in _slabs(self, TRAINED_SLAB, x.dtype)], axis=-1)
        return x + self["bias"] if "bias" in self else x


def _slabs(module: nn.QuantizedLinear, size: int, dtype: mx.Dtype) -> Iterator[mx.array]:
    """A projection's matrix, dequantized lazily, about `size` numbers at a time."""
    weight, scales, biases = module["weight"], module["scales"], module.get("biases")
    scheme = (module.group_size, module.bits, module.mode)
    rows = max(1, size * module.bits // 32 // weight.shape[-1])
    for start in range(0, len(weight), rows):
        at = slice(start, start + rows)
        own = biases if biases is None else biases[at]
        yield mx.dequantize(weight[at], scales[at], own, *scheme, dtype=dtype)


def use_training_projections(model: nn.Module) -> None:
    """Replace the classes of `use_fast_projections` by ones that evaluate nothing; tensors stay."""
    _replace(model, TrainingLinear, nn.Linear, lambda module: isinstance(module, LargeLinear))


def use_fast_projections(model: nn.Module) -> None:
    """Replace a model's projections where one of the classes above is faster; tensors stay."""
    _replace(model, ManyRowsLinear, LargeLinear, lambda module: module["weight"].size > SMALL)


def _replace(
    model: nn.Module,
    quantized: type[nn.QuantizedLinear],
    plain: type[nn.Linear],
    chosen: Callable[[nn.Linear], bool],
) -> None:
    """Make every quantized projection, and the chosen ones of the others, one of these classes."""

    def replaced(module: nn.Module) -> nn.Module:
        new: nn.Module
        if isinstance(module, nn.QuantizedLinear):
            outputs, words = module["weight"].shape
            sizes = (words * 32 // module.bits, outputs, "bias" in module)
            new = quantized(*sizes, module.group_size, module.bits, module.mode)
        elif isinstance(module, nn.Linear) and chosen(module):
            outputs, inputs = module["weight"].shape
            new = plain(inputs, outputs, "bias" in module)
        else:
            return module
        new.update(dict(module))
        return new

    model.update_modules(tree_map(replaced, model.leaf_modules(), is_leaf=nn.Module.is_module))
