"""Sound -> embeddings of the decoder. A frame of 640 samples (40 ms at 16 kHz) is one token.

There is no tower, and frames do not depend on each other: sound is embedded while it is spoken.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


class MultimodalEmbedder(nn.Module):
    """RMSNorm without weight -> Linear (transformers `Gemma4UnifiedMultimodalEmbedder`).

    All there is for frames; patches go through it after their own embedder (`vision.py`).
    """

    def __init__(self, width: int, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.embedding_projection = nn.Linear(width, hidden_size, bias=False)
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        """(n, width) -> (n, hidden)."""
        projection = self.embedding_projection
        x = x.astype(projection.get("scales", projection.weight).dtype)
        return projection(mx.fast.rms_norm(x, None, self.eps))
