"""Ways around the slow spots of MLX's CPU backend. Nothing here is used on a GPU.

Its matrix product (the reference BLAS on Linux) is 2 to 3 times faster when the right-hand matrix
lies by rows and not transposed, and then faster than its quantized product from some rows on.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

MANY_ROWS = 16  # from here on, dequantizing first is the faster way


def by_column(weight: mx.array) -> mx.array:
    """The same matrix stored so that its transpose, which projections multiply by, lies by rows."""
    return mx.contiguous(weight.T).T


class ManyRowsLinear(nn.QuantizedLinear):
    """A quantized projection that dequantizes its matrix when many rows go through it at once."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        packed = (self["weight"], self["scales"], self.get("biases"))
        scheme = (self.group_size, self.bits, self.mode)
        if x.shape[-2] < MANY_ROWS:
            x = mx.quantized_matmul(x, *packed, True, *scheme)
        else:
            x = x @ mx.contiguous(mx.dequantize(*packed, *scheme, dtype=x.dtype).T)
        return x + self["bias"] if "bias" in self else x


def use_many_rows(model: nn.Module) -> None:
    """Make every quantized projection of a model a `ManyRowsLinear`; its tensors stay."""

    def replaced(module: nn.Module) -> nn.Module:
        if not isinstance(module, nn.QuantizedLinear):
            return module
        outputs, words = module["weight"].shape
        inputs = words * 32 // module.bits
        new = ManyRowsLinear(
            inputs, outputs, "bias" in module, module.group_size, module.bits, module.mode
        )
        new.update(module.parameters())
        return new

    model.update_modules(tree_map(replaced, model.leaf_modules(), is_leaf=nn.Module.is_module))
