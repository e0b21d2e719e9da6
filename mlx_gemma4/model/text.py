"""The decoder: three attentions, MLP, layers. The module tree is the checkpoint's names.

The formulas are those of transformers 5.23 `modeling_gemma4_unified.py`; `OneRowAttention` computes
the same with fewer numbers in the cache. Batch size is 1: hidden states are (1, L, hidden).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from .attention import Step, attend, attend_piece
from .cache import Cache, GlobalCache, SlidingCache
from .config import FULL, SLIDING, TextConfig

Layout = Literal["one_row", "plain"]


def gelu_times(gate: mx.array, up: mx.array) -> mx.array:
    """tanh-approximated GELU (https://arxiv.org/abs/1606.08415) of `gate`, times `up`.

    Written as x sigmoid(2u) for 0.5 x (1 + tanh(u)): fewer passes over the data.
    """
    inner = gate + 0.044715 * (gate * gate * gate)
    return gate * mx.sigmoid((2 * math.sqrt(2 / math.pi)) * inner) * up


class MLP(nn.Module):
    """Gated feed-forward."""

    activate = staticmethod(mx.compile(gelu_times, shapeless=True))

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """(1, L, hidden) -> the same."""
        return self.down_proj(self.activate(self.gate_proj(x), self.up_proj(x)))


class Attention(nn.Module):
    """What the three attentions share. The scale is 1.0: `q_norm` and `k_norm` carry it."""

    attend_piece = staticmethod(attend_piece)

    def __init__(self, config: TextConfig, head_dim: int, kv_heads: int, value_proj: bool) -> None:
        super().__init__()
        hidden, heads = config.hidden_size, config.num_attention_heads
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.eps = config.rms_norm_eps
        self.q_proj = nn.Linear(hidden, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, kv_heads * head_dim, bias=False)
        if value_proj:
            self.v_proj = nn.Linear(hidden, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, hidden, bias=False)
        self.q_norm = nn.RMSNorm(head_dim, eps=config.rms_norm_eps)
        self.k_norm = nn.RMSNorm(head_dim, eps=config.rms_norm_eps)


class SlidingAttention(Attention):
    """Rotary over the whole head; sees the window."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config, config.head_dim, config.num_key_value_heads, value_proj=True)
        self.window = config.sliding_window
        self.rope_theta = config.rope_parameters[SLIDING].rope_theta

    def __call__(self, x: mx.array, step: Step, cache: SlidingCache) -> mx.array:
        """(1, L, hidden) -> the same."""
        queries = self.q_norm(split(self.q_proj(x), self.heads)).swapaxes(1, 2)
        keys = self.k_norm(split(self.k_proj(x), self.kv_heads)).swapaxes(1, 2)
        values = mx.fast.rms_norm(split(self.v_proj(x), self.kv_heads), None, self.eps)
        queries, keys = self.rotate(queries, step.offset), self.rotate(keys, step.offset)
        kv = cache.update(step.offset, keys, values.swapaxes(1, 2))
        return self.o_proj(merge(attend(queries, kv, step.sliding, self.attend_piece)))

    def rotate(self, x: mx.array, offset: int) -> mx.array:
        """(1, heads, L, D) turned by their positions, which start at `offset`."""
        return rope(x, self.head_dim, self.rope_theta, offset)

    def make_cache(self, kv_bits: int | None, slack: int) -> SlidingCache:
        return SlidingCache(self.window, slack)


class GlobalAttention(Attention):
    """A full layer as published: a cached row is [key | value].

    With `attention_k_eq_v` there is no v_proj: with x = k_proj(h), key = rope(k_norm(x)) and
    value = rms_norm(x). Only `rotated_dims` of a head rotate ("proportional" rope: transformers
    `_compute_proportional_rope_parameters`), with exponents over the whole head.
    """

    def __init__(self, config: TextConfig) -> None:
        head_dim, k_eq_v = config.global_head_dim, config.attention_k_eq_v
        super().__init__(config, head_dim, config.num_global_key_value_heads, not k_eq_v)
        self.k_eq_v = k_eq_v
        rotated, theta = config.rotated_dims, config.rope_parameters[FULL].rope_theta
        still = mx.full((head_dim - rotated) // 2, math.inf)
        self._freqs = mx.concatenate([theta ** (mx.arange(0, rotated, 2) / head_dim), still])
        mx.eval(self._freqs)  # it is no parameter, and lazy arrays cannot cross threads

    def __call__(self, x: mx.array, step: Step, cache: GlobalCache) -> mx.array:
        """(1, L, hidden) -> the same."""
        queries = self.q_norm(split(self.q_proj(x), self.heads)).swapaxes(1, 2)
        projected = split(self.k_proj(x), self.kv_heads)
        keys = self.k_norm(projected).swapaxes(1, 2)
        values = projected if self.k_eq_v else split(self.v_proj(x), self.kv_heads)
        values = mx.fast.rms_norm(values, None, self.eps).swapaxes(1, 2)
        queries, keys = self.rotate(queries, step.offset), self.rotate(keys, step.offset)
        kv = cache.update(step.offset, mx.concatenate([keys, values], axis=-1))
        return self.o_proj(merge(attend(queries, kv, step.full, self.attend_piece)))

    def rotate(self, x: mx.array, offset: int) -> mx.array:
        return mx.fast.rope(
            x,
            self.head_dim,
            traditional=False,
            base=None,
            scale=1.0,
            offset=offset,
            freqs=self._freqs,
        )

    def make_cache(self, kv_bits: int | None, slack: int) -> GlobalCache:
        return GlobalCache(self.head_dim, 2 * self.head_dim, kv_bits)


class OneRowAttention(Attention):
    """A full layer with k_eq_v whose cached row holds key and value at once.

    They differ only by k_norm's weight w and by the rotation of R of the D dims. With each head
    permuted at load to [rotated R | rest D - R] (`checkpoint.permute`), a row [K rotated | V rest |
    V rotated] of D + R numbers holds both: the key is its first D, with w of the rest folded into
    the query's norm; the value is its last D, with o_proj's columns permuted to match. The rotation
    is the ordinary one over R dims, as theta ** (2i / D) is (theta ** (R / D)) ** (2i / R).
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config, config.global_head_dim, config.num_global_key_value_heads, False)
        self.rotated = config.rotated_dims
        theta = config.rope_parameters[FULL].rope_theta
        self.rope_theta = theta ** (self.rotated / self.head_dim)

    def __call__(self, x: mx.array, step: Step, cache: GlobalCache) -> mx.array:
        """(1, L, hidden) -> the same."""
        rotated, rest = slice(0, self.rotated), slice(self.rotated, None)
        weight = self.k_norm.weight
        queries = split(self.q_proj(x), self.heads)
        queries = mx.fast.rms_norm(queries, self.q_norm.weight * self.fold, self.eps)
        values = split(self.k_proj(x), self.kv_heads)
        values = mx.fast.rms_norm(values, None, self.eps).swapaxes(1, 2)
        queries = self.rotate(queries.swapaxes(1, 2), step.offset)
        keys = self.rotate(values[..., rotated] * weight[rotated], step.offset)
        row = mx.concatenate([keys, values[..., rest], values[..., rotated]], axis=-1)
        kv = cache.update(step.offset, row)
        return self.o_proj(merge(attend(queries, kv, step.full, self.attend_piece)))

    @property
    def fold(self) -> mx.array:
        """(D,): multiplies q_norm's weight, as the rest of a row is stored without k_norm's."""
        weight = self.k_norm.weight
        return mx.concatenate([mx.ones(self.rotated, weight.dtype), weight[self.rotated :]])

    def rotate(self, x: mx.array, offset: int) -> mx.array:
        """As `SlidingAttention.rotate`, of the first `rotated` dims."""
        return rope(x, self.rotated, self.rope_theta, offset)

    def make_cache(self, kv_bits: int | None, slack: int) -> GlobalCache:
        return GlobalCache(self.head_dim, self.head_dim + self.rotated, kv_bits)


def split(x: mx.array, heads: int) -> mx.array:
    """(1, L, heads * D) -> (1, L, heads, D)."""
    return x.reshape(1, x.shape[1], heads, -1)


def merge(x: mx.array) -> mx.array:
    """(1, heads, L, D) -> (1, L, heads * D)."""
    return x.swapaxes(1, 2).reshape(1, x.shape[2], -1)


def rope(x: mx.array, dims: int, theta: float, offset: int) -> mx.array:
    """Rotary embedding (https://arxiv.org/abs/2104.09864) of the first `dims`, halves paired."""
    return mx.fast.rope(x, dims, traditional=False, base=theta, scale=1.0, offset=offset)


def attention_of(config: TextConfig, layer_type: str, layout: Layout) -> Attention:
    full = OneRowAttention if layout == "one_row" else GlobalAttention
    return SlidingAttention(config) if layer_type == SLIDING else full(config)


class DecoderLayer(nn.Module):
    """Attention and MLP, each between two norms, and the layer's scalar."""

    def __init__(self, config: TextConfig, self_attn: nn.Module) -> None:
        super().__init__()
        self.self_attn: Any = self_attn
        self.mlp = MLP(config)
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.pre_feedforward_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.post_feedforward_layernorm = nn.RMSNorm(hidden, eps=eps)
        self.layer_scalar = mx.ones(1)

    def __call__(self, x: mx.array, *seen: Any) -> mx.array:
        """(1, L, hidden) -> the same; `seen`: the other arguments of its attention."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), *seen))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        return x * self.layer_scalar


class TextModel(nn.Module):
    """Embeddings -> layers -> final norm."""

    def __init__(self, config: TextConfig, layout: Layout) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        kinds = config.layer_types
        self.layers = [DecoderLayer(config, attention_of(config, kind, layout)) for kind in kinds]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.embed_scale = math.sqrt(config.hidden_size)

    def embed(self, token_ids: mx.array) -> mx.array:
        """(L,) ids -> (1, L, hidden), scaled by sqrt(hidden)."""
        return self.embed_tokens(token_ids)[None] * self.embed_scale

    def __call__(self, embeddings: mx.array, step: Step, cache: Cache) -> mx.array:
        """(1, L, hidden) -> the same, before the final norm."""
        x = embeddings
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, step, layer_cache)
        return x


class LanguageModel(nn.Module):
    """The decoder with its output head, which is the embedding table again (tied)."""

    def __init__(self, config: TextConfig, layout: Layout) -> None:
        super().__init__()
        self.model = TextModel(config, layout)
        self.softcap = config.final_logit_softcapping

    def logits(self, hidden: mx.array) -> mx.array:
        """(1, L, hidden) -> (1, L, vocab), softcapped: cap tanh(x / cap) (https://arxiv.org/abs/2408.00118)."""
        logits = self.model.embed_tokens.as_linear(hidden)
        return logits if self.softcap is None else mx.tanh(logits / self.softcap) * self.softcap
