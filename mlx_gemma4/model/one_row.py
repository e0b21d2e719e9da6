"""The one-row layout's order of the dims in a full layer's heads (`text.OneRowAttention`).

Moving dims is exact and can be undone: models load in this order and are saved in the published
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from .config import FULL, TextConfig


def head_order(config: TextConfig) -> np.ndarray:
    """The one-row layout's order of a full layer's head dims: those that rotate, then the rest.

    transformers pairs dim i with dim i + D / 2, so the R that rotate are two blocks of R / 2.
    """
    half, dims = config.rotated_dims // 2, np.arange(config.global_head_dim)
    rotates = dims % (config.global_head_dim // 2) < half
    return np.concatenate([dims[rotates], dims[~rotates]])


def permute(
    weights: Mapping[str, mx.array], config: TextConfig, back: bool = False
) -> dict[str, mx.array]:
    """Reorder the full layers' heads for `OneRowAttention`, or back; quantized groups stay whole.

    Rows of q_proj, k_proj and their norms take `head_order`. Columns of o_proj take the order in
    which values leave attention: the rest, then those that rotate.
    """
    result = dict(weights)
    order, heads = head_order(config), config.num_attention_heads
    rows = {
        "q_proj": _per_head(order, heads),
        "k_proj": _per_head(order, config.num_global_key_value_heads),
        "q_norm": order,
        "k_norm": order,
    }
    columns = _per_head(np.roll(order, -config.rotated_dims), heads)
    for prefix in _full_layers(config):
        group = _group_size(weights, prefix, len(columns), _moved_together(config))
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


def groups_allow(config: TextConfig, weights: Mapping[str, mx.array]) -> bool:
    """Whether the one-row layout moves whole quantization groups of every o_proj."""
    order = np.roll(head_order(config), -config.rotated_dims)
    for prefix in _full_layers(config):
        group = _group_size(weights, prefix, config.num_attention_heads * len(order), 1)
        if len(order) % group:
            return False
        groups = order.reshape(-1, group)
        first = groups[:, :1]
        if (first % group).any() or (groups != first + np.arange(group)).any():
            return False
    return True


def _full_layers(config: TextConfig) -> list[str]:
    kinds = enumerate(config.layer_types)
    return [f"language_model.model.layers.{n}.self_attn." for n, kind in kinds if kind == FULL]


def _per_head(order: np.ndarray, heads: int) -> np.ndarray:
    """(D,) -> (heads * D,)."""
    return np.concatenate([head * len(order) + order for head in range(heads)])


def _moved_together(config: TextConfig) -> int:
    """Dims of a head that keep their neighbours in `head_order`: moving blocks is faster."""
    return math.gcd(config.rotated_dims // 2, config.global_head_dim // 2)


def _group_size(weights: Mapping[str, mx.array], prefix: str, width: int, dense: int) -> int:
    """Columns of o_proj that share a scale; `dense` where it is not quantized."""
    scales = weights.get(f"{prefix}o_proj.scales")
    return dense if scales is None else max(1, width // max(1, scales.shape[-1]))
