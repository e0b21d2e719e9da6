"""Gemma 4's drafter: four small layers that propose what the model may draw next.

It has no keys and values of its own: its layers read those of the model's last sliding and last
full layer, at the position of the last cached row (transformers `gemma4_unified_assistant`). Its
full layers' heads are loaded in the order of the model's rows (`checkpoint/drafter.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from . import cpu_backend
from .attention import Dense, Quantized, attend_piece
from .cache import Cache
from .config import FULL, TextConfig
from .drafter_config import DrafterConfig
from .gemma4 import Gemma4
from .text import DecoderLayer, OneRowAttention, merge, split


@dataclass(frozen=True)
class SharedLayer:
    """A layer of the model whose rows the drafter reads; they must not outlive the next write."""

    attention: nn.Module
    rows: Dense | Quantized


class QueryAttention(nn.Module):
    """Queries over the rows of another model's layer."""

    attend_piece = staticmethod(attend_piece)

    def __init__(self, config: TextConfig, kind: str) -> None:
        super().__init__()
        head_dim = config.global_head_dim if kind == FULL else config.head_dim
        hidden, heads, eps = config.hidden_size, config.num_attention_heads, config.rms_norm_eps
        self.heads, self.eps = heads, eps
        self.q_proj = nn.Linear(hidden, heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, hidden, bias=False)
        self.q_norm = nn.RMSNorm(head_dim, eps=eps)

    def __call__(self, x: mx.array, shared: SharedLayer, position: int) -> mx.array:
        """(1, 1, hidden) -> the same."""
        weight = self.q_norm.weight
        if isinstance(shared.attention, OneRowAttention):
            weight = weight * shared.attention.fold
        queries = mx.fast.rms_norm(split(self.q_proj(x), self.heads), weight, self.eps)
        queries = shared.attention.rotate(queries.swapaxes(1, 2), position)
        return self.o_proj(merge(self.attend_piece(queries, shared.rows, None)))


class DrafterModel(nn.Module):
    """The embedding table, which is only the output head, the layers and the norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        attentions = (QueryAttention(config, kind) for kind in config.layer_types)
        self.layers = [DecoderLayer(config, attention) for attention in attentions]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Drafter(nn.Module):
    """The whole drafter; `config` is its folder's."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.config = config
        text, backbone = config.text_config, config.backbone_hidden_size
        self.model = DrafterModel(text)
        self.pre_projection = nn.Linear(2 * backbone, text.hidden_size, bias=False)
        self.post_projection = nn.Linear(text.hidden_size, backbone, bias=False)
        if mx.default_device() == mx.cpu:
            cpu_backend.adapt(self.model.layers)

    def draft(
        self, target: Gemma4, cache: Cache, token: mx.array, hidden: mx.array, count: int
    ) -> mx.array:
        """Propose what follows a token that `cache` does not hold yet: (count,) ids, lazily.

        Args:
            target: the model.
            cache: the model's, of all before the token.
            token: (1,) the id.
            hidden: (1, 1, backbone) of the cache's last row, after the final norm: it predicted
                the token.
            count: how many ids.
        """
        shared, never = self.shared_layers(target, cache), target.config.suppress_tokens
        drafts = []
        for _ in range(count):
            logits, hidden = self(target, shared, token, hidden, cache.offset - 1)
            if never:  # the model never draws them
                places, low = mx.array([never]), mx.array(-mx.inf, logits.dtype)
                logits = mx.put_along_axis(logits, places, low, axis=-1)
            token = mx.argmax(logits, axis=-1)
            drafts.append(token)
        return mx.concatenate(drafts)

    def shared_layers(self, target: Gemma4, cache: Cache, more: int = 0) -> dict[str, SharedLayer]:
        """The model's last layer of either kind with `Cache.seen` (`more` is 1 in transformers)."""
        last = target.config.text_config.last_layers
        return {
            kind: SharedLayer(target.attention(last[kind]), cache.seen(last[kind], more))
            for kind in set(self.config.text_config.layer_types)
        }

    def __call__(
        self,
        target: Gemma4,
        shared: dict[str, SharedLayer],
        token: mx.array,
        hidden: mx.array,
        position: int,
    ) -> tuple[mx.array, mx.array]:
        """One draft: logits (1, vocab), and the hidden state (1, 1, backbone) for the next."""
        embedded = target.language_model.model.embed(token)
        x = self.pre_projection(mx.concatenate([embedded, hidden], axis=-1))
        for layer, kind in zip(self.model.layers, self.config.text_config.layer_types, strict=True):
            x = layer(x, shared[kind], position)
        x = self.model.norm(x)
        return self.model.embed_tokens.as_linear(x)[:, 0], self.post_projection(x)

    def tensors(self) -> dict[str, mx.array]:
        """Every parameter by its name in a checkpoint."""
        return dict(tree_flatten(self.parameters()))
