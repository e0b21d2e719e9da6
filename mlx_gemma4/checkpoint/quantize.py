"""`quantize` applies a recipe to a model in memory; `convert/` does it to folders.

The chosen settings go to `config.quantization` in mlx-lm's and mlx-vlm's form.
"""

from dataclasses import asdict, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

from ..errors import Gemma4Error
from ..model.gemma4 import Gemma4
from .encode import encode
from .recipes import RECIPES as RECIPES
from .recipes import Recipe, Storage, moves_whole_groups, settings, storage_of


def quantize(model: Gemma4, recipe: Recipe) -> None:
    """Quantize the decoder's matrices and its embedding table in place.

    The full layers' o_proj takes smaller groups where the one-row layout needs them, so that the
    folder this becomes can be loaded in either layout.

    Raises:
        Gemma4Error: the model is quantized already, or its layout cannot keep whole groups.
    """
    if model.config.quantization is not None:
        raise _impossible("It is quantized already.", "Start from the unquantized checkpoint.")
    text = model.config.text_config
    chosen: dict[str, Storage] = {}

    def quantized(path: str, module: Any) -> Any:
        if not hasattr(module, "to_quantized"):
            return module
        storage = storage_of(recipe, text, path, module.weight.shape)
        if storage is None:
            return module
        if model.layout == "one_row" and not moves_whole_groups(text, path, storage.group_size):
            raise _impossible(
                f"Its full layers rotate blocks of {text.rotated_dims // 2} dims, which no group "
                "size divides.",
                'Load it with layout="plain".',
            )
        chosen[path] = storage
        result = module.to_quantized(**asdict(storage))
        names = ("weight", "scales", "biases")
        made = encode(module.weight, storage, recipe.grid)
        result.update(dict(zip(names, made, strict=False)))
        return result

    leaves = tree_map_with_path(quantized, model.leaf_modules(), is_leaf=nn.Module.is_module)
    model.update_modules(leaves)
    mx.eval(model.parameters())
    if chosen:
        model.config = replace(model.config, quantization=settings(recipe, chosen))


def _impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("quantize_impossible", "The model cannot be quantized", cause, remedy)
