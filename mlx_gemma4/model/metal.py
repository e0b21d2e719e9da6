"""What only a Mac's GPU needs: wired memory, few freed buffers, when its kernel holds no scores.

The reason of each is in MLX's documentation of the function it calls.
"""

from __future__ import annotations

import weakref

import mlx.core as mx

from ..limits import FREED_BYTES, STREAMED_HEAD_DIM, STREAMED_QUERIES


def in_use() -> bool:
    return mx.metal.is_available() and mx.default_device() == mx.gpu


def working_set() -> int:
    """Bytes that this Mac recommends for the GPU; it differs between machines of one size."""
    return int(mx.device_info(mx.gpu)["max_recommended_working_set_size"])


def limit_freed_buffers() -> None:
    """Bound what MLX keeps of freed buffers: its own limit is more than a small Mac has."""
    if in_use():
        mx.set_cache_limit(FREED_BYTES)


def streams_scores(length: int, dtype: mx.Dtype, head_dim: int) -> bool:
    """Whether dense causal attention of a full layer holds no scores (MLX's blocked kernel)."""
    fits = length >= STREAMED_QUERIES and head_dim == STREAMED_HEAD_DIM
    return fits and dtype in (mx.float16, mx.bfloat16) and in_use()


def wire_while_alive(owner: object) -> None:
    """Keep the GPU's memory wired for as long as an object lives, as a conversation's cache does.

    Otherwise macOS may page the weights out between two turns, and the next first token waits for
    them.
    """
    if in_use():
        _owners.add(key := object())
        weakref.finalize(owner, _unwire, key)
        mx.set_wired_limit(working_set())


_owners: set[object] = set()


def _unwire(key: object) -> None:
    _owners.discard(key)
    if not _owners:
        mx.set_wired_limit(0)
