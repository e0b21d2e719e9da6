"""Patches and frames -> embeddings of the decoder, one token each. There are no towers.

Patches see each other in the decoder only. A frame is 640 samples (40 ms at 16 kHz), and frames do
not depend on each other: sound is embedded while it is spoken.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .config import VisionConfig


class MultimodalEmbedder(nn.Module):
    """RMSNorm without weight -> Linear (transformers `Gemma4UnifiedMultimodalEmbedder`).

    All there is for frames; patches go through it after `VisionEmbedder`.
    """

    def __init__(self, width: int, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.embedding_projection = nn.Linear(width, hidden_size, bias=False)
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        """(n, width) -> (n, hidden)."""
        projection = self.embedding_projection
        plain = projection.get("linear", projection)  # within a LoRA layer
        x = x.astype(plain.get("scales", plain["weight"]).dtype)
        return projection(mx.fast.rms_norm(x, None, self.eps))


class VisionEmbedder(nn.Module):
    """LayerNorm -> Linear -> LayerNorm -> + table[x, 0] + table[y, 1] -> LayerNorm.

    transformers `Gemma4UnifiedVisionEmbedder`, without its last projection.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_ln1 = nn.LayerNorm(config.patch_width)
        self.patch_dense = nn.Linear(config.patch_width, config.mm_embed_dim)
        self.patch_ln2 = nn.LayerNorm(config.mm_embed_dim)
        self.pos_embedding = mx.zeros((config.mm_posemb_size, 2, config.mm_embed_dim))
        self.pos_norm = nn.LayerNorm(config.mm_embed_dim)

    def __call__(self, patches: mx.array, positions: mx.array) -> mx.array:
        """(n, 6912) floats in [0, 1], (n, 2) as (x, y) -> (n, mm_embed_dim)."""
        x = patches.astype(self.patch_ln1.weight.dtype)
        x = self.patch_ln2(self.patch_dense(self.patch_ln1(x)))
        x = x + self.pos_embedding[positions[:, 0], 0] + self.pos_embedding[positions[:, 1], 1]
        return self.pos_norm(x)
