"""Limits that several parts share, as plain numbers: what runs a model and what predicts it."""

from collections.abc import Mapping
from typing import Literal

Backend = Literal["metal", "cuda", "cpu"]

STEP = 256
"""A cache buffer's capacity, in rows, is a multiple of it."""

SLACK = 256
"""Rows beyond the window that a sliding layer keeps: as many can be dropped again for free."""

SEGMENT = 8192
"""Tokens that are embedded at a time: 63 MB of the 12B's embeddings in bfloat16."""

SCORE_LIMIT = 256_000_000
"""Bytes of fp32 attention scores that a layer may hold at once."""

CHUNKS: Mapping[Backend, int] = {"metal": 1024, "cuda": 512, "cpu": 512}
"""Tokens in a chunk of prefill; a cancel waits for the end of one."""

STREAMED_QUERIES, STREAMED_HEAD_DIM = 1024, 512
"""Metal's blocked kernel holds no scores: causal, 16 bits, so many queries or more, this wide."""

FREED_BYTES = 2**30
"""Bytes of freed buffers that MLX may keep on a Mac; a step of the 12B uses about 0.8 GB again."""

FREED_TOKENS = 256
"""Tokens of a reply after which freed buffers are given back: as a context grows, few fit again."""
