"""LoRA and DoRA layers in a model that is trained, and out again as an adapter.

The layers are mlx-lm's. Importing that takes two seconds, so only training does;
`checkpoint.adapted` has the layer for answering.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear

from ..checkpoint.adapters import Adapter, Kind, permuted
from ..checkpoint.cpu_projections import use_training_projections
from ..errors import Gemma4Error
from ..model.gemma4 import Gemma4

_LAYERS = "language_model.model.layers."
_EMBEDDERS = ("vision_embedder.", "embed_vision.", "embed_audio.")
_LEAVES = ("lora_a", "lora_b", "m")


def add(
    model: Gemma4,
    rank: int,
    scale: float,
    seed: int,
    kind: Kind = "lora",
    embedders: bool = False,
    last_layers: int | None = None,
) -> list[str]:
    """Freeze a model, and put layers that are trained over its projections.

    Args:
        scale: what a change is multiplied by.
        seed: of the matrices A, which depend on nothing else; the matrices B are zero.
        embedders: also over what pictures and sound pass through.
        last_layers: over so many layers at the end only.

    Returns:
        The paths of the projections.

    Raises:
        Gemma4Error: there are fewer layers.
    """
    count = need_layers(model, last_layers)
    if mx.default_device() == mx.cpu:
        use_training_projections(model)
    first = count - (last_layers or count)
    chosen = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.QuantizedLinear)
        and (_number(path) >= first or (embedders and path.startswith(_EMBEDDERS)))
    ]
    model.freeze()
    layers = [(path, _layer(path, one, rank, scale, seed, kind)) for path, one in chosen]
    model.update_modules(tree_unflatten(layers))
    mx.eval(model.trainable_parameters())
    return sorted(path for path, _ in chosen)


def need_layers(model: Gemma4, last_layers: int | None) -> int:
    """How many layers a model has; raises Gemma4Error where `last_layers` is out of range."""
    count = len(model.language_model.model.layers)
    if last_layers is not None and not 1 <= last_layers <= count:
        raise Gemma4Error(
            "setting_out_of_range",
            "So many layers cannot be trained",
            f"--last-layers is {last_layers}, and the model has {count}.",
            f"Set 1 to {count}.",
        )
    return count


def trained(model: Gemma4) -> dict[str, mx.array]:
    """What is trained, by name, in the order of the model's layout."""
    return dict(tree_flatten(model.trainable_parameters()))


def adapter_of(
    model: Gemma4, rank: int, scale: float, kind: Kind, facts: Mapping[str, Any]
) -> Adapter:
    """What was trained, in the checkpoint's own order."""
    tensors = {n: t for n, t in trained(model).items() if n.rpartition(".")[2] in _LEAVES}
    if model.layout == "one_row":
        tensors = permuted(tensors, model.config.text_config, back=True)
    tensors = {name: mx.contiguous(tensor) for name, tensor in tensors.items()}
    return Adapter(tensors, rank, scale, kind, facts)


def _number(path: str) -> int:
    """The number of the decoder layer that a module is in; -1 for none."""
    return int(path.removeprefix(_LAYERS).split(".")[0]) if path.startswith(_LAYERS) else -1


def _layer(
    path: str, linear: nn.Module, rank: int, scale: float, seed: int, kind: Kind
) -> nn.Module:
    outputs, inputs = linear["weight"].shape
    if isinstance(linear, nn.QuantizedLinear):
        inputs = inputs * 32 // linear.bits  # DoRALinear.from_base is wrong for 3, 5 and 6 bits
    layer = (DoRALinear if kind == "dora" else LoRALinear)(inputs, outputs, rank, 0.0, scale)
    if kind == "dora":
        layer.set_linear(linear)
    else:
        layer.linear = linear
    bound = 1 / math.sqrt(inputs)
    key = mx.random.key(seed ^ zlib.crc32(path.encode()))
    layer.lora_a = mx.random.uniform(-bound, bound, (inputs, rank), key=key)
    layer.linear.freeze()
    return layer
