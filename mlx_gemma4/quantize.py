"""Recipes for fewer bits, and `quantize`, which applies one to a model in place.

What pictures and sound pass through stays unquantized: it is small, and everything they say goes
through it once. The chosen settings go to `config.quantization` in mlx-lm's and mlx-vlm's form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .config import FULL, TextConfig
from .errors import Gemma4Error
from .model import Gemma4
from .text import one_row_fits

GROUP_SIZES = (128, 64, 32)  # what MLX's affine quantization knows


@dataclass(frozen=True)
class Recipe:
    """Affine quantization: `bits` a weight, a scale and a bias for every `group_size` weights."""

    bits: int
    group_size: int


RECIPES = {"4bit": Recipe(bits=4, group_size=64), "8bit": Recipe(bits=8, group_size=64)}

_UNTOUCHED = ("vision_embedder.", "embed_vision.", "embed_audio.")


def quantize(model: Gemma4, recipe: Recipe) -> None:
    """Quantize the decoder's matrices and its embedding table in place.

    The full layers' o_proj takes smaller groups where the one-row layout needs them, so that the
    folder this becomes can be loaded in either layout.

    Raises:
        Gemma4Error: the model is quantized already, or its layout cannot keep whole groups.
    """
    if model.config.quantization is not None:
        raise _impossible("It is quantized already.", "Start from the unquantized checkpoint.")
    settings: dict[str, Any] = {"group_size": recipe.group_size, "bits": recipe.bits}
    default = {**settings, "mode": "affine"}
    settings = dict(default)

    def chosen(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if path.startswith(_UNTOUCHED) or not hasattr(module, "to_quantized"):
            return False
        group_size = _group_size(model, path, module.weight.shape[-1], recipe.group_size)
        if group_size is None:
            return False
        if group_size != recipe.group_size:
            settings[path] = {**default, "group_size": group_size}
        return {**default, "group_size": group_size}

    nn.quantize(model, class_predicate=chosen)
    mx.eval(model.parameters())
    model.config = replace(model.config, quantization=settings)


def _group_size(model: Gemma4, path: str, width: int, wanted: int) -> int | None:
    """The largest group size up to `wanted` that divides the row, and whole blocks of head dims."""
    text = model.config.text_config
    fitting = [size for size in GROUP_SIZES if size <= wanted and width % size == 0]
    if not path.endswith("o_proj") or not one_row_fits(text) or not _is_full(text, path):
        return max(fitting, default=None)
    # Dims move in blocks of half the rotated ones, from the two halves of a head (`layout.py`).
    borders = (text.rotated_dims // 2, text.global_head_dim // 2)
    whole = [size for size in fitting if not any(border % size for border in borders)]
    if not whole and model.layout == "one_row":
        raise _impossible(
            f"Its full layers rotate blocks of {borders[0]} dims, which no group size divides.",
            'Load it with layout="plain".',
        )
    return max(whole or fitting, default=None)


def _is_full(text: TextConfig, path: str) -> bool:
    # language_model.model.layers.N.self_attn.o_proj
    return text.layer_types[int(path.split(".")[3])] == FULL


def _impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("The model cannot be quantized", cause, remedy)
