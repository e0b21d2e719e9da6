"""A model with an adapter beside its weights: put on, exchanged and taken off while it is loaded.

The layer computes what mlx-lm's LoRALinear and DoRALinear do, whose import takes two seconds.
"""

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..model.gemma4 import Gemma4
from .adapters import Adapter, check_fits, permuted


class AdaptedLinear(nn.Module):
    """A projection and its low-rank change, for answering.

    Args:
        linear: the projection, quantized or not.
        lora_a: (inputs, rank).
        lora_b: (rank, outputs), multiplied by the scale.
        gain: of DoRA, what each output (outputs,) is multiplied by.
    """

    def __init__(
        self, linear: nn.Module, lora_a: mx.array, lora_b: mx.array, gain: mx.array | None
    ) -> None:
        super().__init__()
        self.linear, self.lora_a, self.lora_b = linear, lora_a, lora_b
        if gain is not None:
            self.gain = gain

    def __call__(self, x: mx.array) -> mx.array:
        """(..., L, inputs) -> (..., L, outputs)."""
        y = self.linear(x)
        change = (x @ self["lora_a"]) @ self["lora_b"]
        y = y + change.astype(y.dtype)
        if "gain" not in self:
            return y
        bias = self.linear.get("bias", mx.zeros(1, y.dtype))
        return self["gain"].astype(y.dtype) * (y - bias) + bias


def attach(model: Gemma4, adapter: Adapter) -> None:
    """Put an adapter on a model in place of the one that it has.

    Caches of the model hold rows of the former one then, and must not be used again. Raises
    Gemma4Error where it was trained on another model; the model is as it was then.
    """
    check_fits(adapter, model.config)
    tensors: dict[str, mx.array] = dict(adapter.tensors)
    if model.layout == "one_row":
        tensors = permuted(tensors, model.config.text_config)
    detach(model)
    layers, modules = [], dict(model.named_modules())
    for path in adapter.paths:
        linear = modules[path]
        lora_a, lora_b = tensors[f"{path}.lora_a"], adapter.scale * tensors[f"{path}.lora_b"]
        gain = None
        if adapter.kind == "dora":
            weight = dense_weight(linear).astype(mx.float32)
            lengths = mx.linalg.norm(weight + (lora_a @ lora_b).T, axis=1)
            gain = tensors[f"{path}.m"] / lengths
            mx.eval(gain)
        layers.append((path, AdaptedLinear(linear, lora_a, lora_b, gain)))
    model.update_modules(tree_unflatten(layers))
    mx.eval([layer.parameters() for _, layer in layers])
    model.adapter = adapter


def detach(model: Gemma4) -> None:
    """Take the adapter off a model, if it has one."""
    adapted = [(p, m.linear) for p, m in model.named_modules() if isinstance(m, AdaptedLinear)]
    model.update_modules(tree_unflatten(adapted))
    model.adapter = model._fingerprint = None  # for `prefix_store.py` it is another model now


def dense_weight(linear: nn.Module) -> mx.array:
    """The weight (outputs, inputs) of a projection, dequantized where it has scales."""
    if not isinstance(linear, nn.QuantizedLinear):
        weight: mx.array = linear["weight"]
        return weight
    return mx.dequantize(
        linear["weight"],
        linear["scales"],
        linear.get("biases"),
        linear.group_size,
        linear.bits,
        linear.mode,
    )
