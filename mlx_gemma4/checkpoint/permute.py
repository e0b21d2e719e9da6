"""The heads of full layers in the order of the one-row layout, and back.

Moving dims is exact and can be undone: models load in this order and are saved in the published
one.
"""

import math
from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from ..model.config import TextConfig
from ..model.one_row import full_layers, head_order


def permute(
    weights: Mapping[str, mx.array],
    config: TextConfig,
    back: bool = False,
    root: str = "language_model.",
) -> dict[str, mx.array]:
    """Reorder the full layers' heads for `OneRowAttention`, or back; quantized groups stay whole.

    Rows of q_proj, k_proj and their norms take `head_order`. Columns of o_proj take the order in
    which values leave attention: the rest, then those that rotate. `root` is the prefix of the
    names of the decoder's tensors.
    """
    result = dict(weights)
    rows, columns = moved_rows(config), moved_columns(config)
    # dims that keep their neighbours: moving blocks is faster
    block = math.gcd(config.rotated_dims // 2, config.global_head_dim // 2)
    for prefix in full_layers(config, root):
        scales = weights.get(f"{prefix}o_proj.scales")
        group = block if scales is None else len(columns) // scales.shape[-1]
        for name in (name for name in weights if name.startswith(prefix)):
            module, tensor = name.removeprefix(prefix).split(".")[0], weights[name]
            index = rows.get(module, columns[::group] // group)
            taken = mx.array(np.argsort(index) if back else index)
            if module in rows:
                result[name] = tensor[taken]
            elif module == "o_proj":
                # (hidden, columns) -> (hidden, groups, columns of a group)
                groups = tensor.reshape(tensor.shape[0], len(index), -1)
                result[name] = groups[:, taken].reshape(tensor.shape)
    return result


def moved_rows(config: TextConfig) -> dict[str, np.ndarray]:
    """By module of a full layer: the published place of each of the layout's rows."""
    order = head_order(config)
    return {
        "q_proj": _per_head(order, config.num_attention_heads),
        "k_proj": _per_head(order, config.num_global_key_value_heads),
        "q_norm": order,
        "k_norm": order,
    }


def moved_columns(config: TextConfig) -> np.ndarray:
    """The published place of each of the layout's columns of a full layer's o_proj."""
    leaving = np.roll(head_order(config), -config.rotated_dims)
    return _per_head(leaving, config.num_attention_heads)


def _per_head(order: np.ndarray, heads: int) -> np.ndarray:
    """(D,) -> (heads * D,)."""
    return np.concatenate([head * len(order) + order for head in range(heads)])
