"""Patches -> vectors, one a patch. There is no tower: patches see each other in the decoder."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .config import VisionConfig


class VisionEmbedder(nn.Module):
    """LayerNorm -> Linear -> LayerNorm -> + table[x, 0] + table[y, 1] -> LayerNorm.

    transformers `Gemma4UnifiedVisionEmbedder`, without its last projection (`audio.py`).
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_ln1 = nn.LayerNorm(config.patch_width)
        self.patch_dense = nn.Linear(config.patch_width, config.mm_embed_dim)
        self.patch_ln2 = nn.LayerNorm(config.mm_embed_dim)
        self.pos_embedding = mx.zeros((config.mm_posemb_size, 2, config.mm_embed_dim))
        self.pos_norm = nn.LayerNorm(config.mm_embed_dim)

    def __call__(self, patches: mx.array, positions: mx.array) -> mx.array:
        """patches (n, 6912) in [0, 1], positions (n, 2) as (x, y) -> (n, mm_embed_dim)."""
        x = patches.astype(self.patch_ln1.weight.dtype)
        x = self.patch_ln2(self.patch_dense(self.patch_ln1(x)))
        x = x + self.pos_embedding[positions[:, 0], 0] + self.pos_embedding[positions[:, 1], 1]
        return self.pos_norm(x)
