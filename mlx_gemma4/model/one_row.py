"""The one-row layout: when it applies, and its order of the dims in a full layer's heads.

`text.OneRowAttention` computes with it, `checkpoint.permute` moves the dims. Knows no MLX.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from .config import FULL, TextConfig

if TYPE_CHECKING:
    import numpy as np

_NONE: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def applies(config: TextConfig, shapes: Mapping[str, tuple[int, ...]] = _NONE) -> bool:
    """Whether a model's full layers cache a key and its value in one row.

    They do where both come from one projection, only a part of a head rotates, and the dims can
    move without cutting a quantization group of any o_proj.

    Args:
        shapes: of a checkpoint's tensors by name; where one is quantized, its scales count.
    """
    if not config.attention_k_eq_v or not 0 < config.rotated_dims < config.global_head_dim:
        return False
    width = config.num_attention_heads * config.global_head_dim
    scales = (shapes.get(f"{prefix}o_proj.scales") for prefix in full_layers(config))
    return all(keeps_groups(config, width // max(1, shape[-1])) for shape in scales if shape)


def keeps_groups(config: TextConfig, group_size: int) -> bool:
    """Whether columns of o_proj move in whole groups: in runs of R / 2 and D / 2 - R / 2."""
    runs = (config.rotated_dims // 2, config.global_head_dim // 2)
    return not any(run % max(1, group_size) for run in runs)


def full_layers(config: TextConfig, root: str = "language_model.") -> list[str]:
    """The prefixes of the names of the full layers' attention tensors."""
    kinds = enumerate(config.layer_types)
    return [f"{root}model.layers.{n}.self_attn." for n, kind in kinds if kind == FULL]


def head_order(config: TextConfig) -> "np.ndarray":
    """The layout's order of a full layer's head dims: those that rotate, then the rest.

    transformers pairs dim i with dim i + D / 2, so the R that rotate are two blocks of R / 2.
    """
    import numpy as np  # the command line imports this file, and shows its help without numpy

    half, dims = config.rotated_dims // 2, np.arange(config.global_head_dim)
    rotates = dims % (config.global_head_dim // 2) < half
    return np.concatenate([dims[rotates], dims[~rotates]])
