"""Quantized modules as the dense ones that they represent, which MLX's CPU backend multiplies fast.

Forty times faster than its quantized product, for four times the memory; logits agree to 1e-4.
"""

from mlx import core, nn
from mlx.utils import tree_unflatten

from ..model.gemma4 import Gemma4


def spread(model: Gemma4) -> None:
    """Replace every quantized module of a model, in place, by the float32 one it represents."""
    dense = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
            continue
        weight = core.dequantize(
            module["weight"],
            module["scales"],
            module.get("biases"),
            group_size=module.group_size,
            bits=module.bits,
            mode=module.mode,
            dtype=core.float32,
        )
        rows, columns = weight.shape
        embeds = isinstance(module, nn.QuantizedEmbedding)
        new = nn.Embedding(rows, columns) if embeds else nn.Linear(columns, rows, bias=False)
        # Stored by columns: that is the order in which the CPU multiplies fast.
        new.weight = weight if embeds else core.contiguous(weight.T).T
        dense.append((name, new))
    model.update_modules(tree_unflatten(dense))
