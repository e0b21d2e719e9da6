"""A drafter's folder -> `Drafter`, in the order of the rows of the model that it drafts for."""

from pathlib import Path

import mlx.core as mx

from ..model import one_row
from ..model.drafter import Drafter
from ..model.drafter_config import load_drafter_config
from ..model.gemma4 import Gemma4
from .files import weights_unusable
from .load import DERIVED, check_tensors, hold, quantize_like, read_weights
from .permute import permute


def load_drafter(folder: Path | str, target: Gemma4, dtype: mx.Dtype | None = None) -> Drafter:
    """Read a drafter strictly: every tensor is used, none is missing, all shapes agree.

    Args:
        folder: config.json with model.safetensors, as published or as `gemma4 convert` writes it.
        target: the model that it drafts for.

    Raises:
        Gemma4Error: the folder cannot be used, or its drafter belongs to another model.
    """
    folder = Path(folder)
    config = load_drafter_config(folder)
    config.check_target(target.config.text_config)
    weights = {n: value for n, value in read_weights(folder).items() if not DERIVED.search(n)}
    drafter = Drafter(config)
    quantize_like(drafter, weights)
    check_tensors(drafter, weights, str(folder))
    if target.layout == "one_row":
        for prefix in one_row.full_layers(config.text_config, ""):
            scales = weights.get(f"{prefix}o_proj.scales")
            width = config.text_config.num_attention_heads * config.text_config.global_head_dim
            if scales is not None and not one_row.keeps_groups(
                target.config.text_config, width // scales.shape[-1]
            ):
                raise weights_unusable(
                    f"{prefix}o_proj is quantized in groups of {width // scales.shape[-1]}, which "
                    "cross the borders of the dims that rotate.",
                    "Convert the drafter with `gemma4 convert`.",
                )
        weights = permute(weights, config.text_config, root="")
    hold(drafter, weights, dtype)
    return drafter
