"""Prefill in chunks and decode one token after another, over one cache: both are generators.

Whoever drives them may do other work between two steps, or cancel by closing them. They know
nothing of text, turns or media: embedded inputs go in, ids come out.
"""

from collections.abc import Callable, Collection, Generator
from typing import TypeVar, cast

import mlx.core as mx
import numpy as np

from ..limits import CHUNKS, FREED_TOKENS
from ..model.cache import Cache
from ..model.gemma4 import Gemma4
from ..model.inputs import Inputs
from .sampler import Sampler

Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all) after each chunk."""
Cancelled = Callable[[], bool]
"""Asked between chunks and between tokens whether to stop."""

CHUNK = CHUNKS["metal" if mx.metal.is_available() else "cpu"]


Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]
"""Work in steps: yields (tokens done, tokens in all) after each, and returns its result."""


def prefill(
    model: Gemma4, inputs: Inputs, cache: Cache, chunk: int | Callable[[], int] = CHUNK
) -> Steps[mx.array]:
    """Feed inputs after what the cache holds, and evaluate chunk by chunk.

    Chunks end at block borders, so one may be longer than `chunk`. Where it is closed early, the
    cache holds the chunks that were done.

    Args:
        model: that reads.
        inputs: what it reads.
        cache: what was read before.
        chunk: tokens in a chunk, or what is asked for them before each.

    Yields:
        (tokens done, tokens in all) after each chunk.

    Returns:
        The logits (1, vocab) of the last row, lazily.

    Raises:
        Gemma4Error: the context is full.
    """
    hidden = None
    start = 0
    while start < len(inputs):
        size = chunk if isinstance(chunk, int) else chunk()
        stop = inputs.cut(start, size)
        hidden = model.hidden(inputs.slice(start, stop), cache)
        mx.eval(hidden, cache.arrays)
        if stop - start >= size:
            mx.clear_cache()  # scores grow with the context: freed ones fit no later chunk
        yield stop, len(inputs)
        start = stop
    assert hidden is not None, "inputs are never empty"
    return model.logits(hidden[:, -1:])[:, 0]


def finish(
    steps: Steps[Result], progress: Progress | None = None, cancelled: Cancelled | None = None
) -> Result | None:
    """Drive steps to their end; their result, or None if they were cancelled before one.

    After the last of them there is nothing left to cancel.
    """
    left = 1
    while not left or cancelled is None or not cancelled():
        try:
            done, total = next(steps)
        except StopIteration as end:
            return cast(Result, end.value)
        left = total - done
        if progress is not None:
            progress(done, total)
    steps.close()
    return None


def decode(
    model: Gemma4,
    logits: mx.array,
    cache: Cache,
    sampler: Sampler,
    ends: Collection[int],
    limit: int,
    cancelled: Cancelled | None = None,
) -> Generator[int]:
    """Draw ids until one of `ends` (which is given too), `limit` ids, or a cancel.

    While the caller handles an id the next one is already being computed. So the cache holds every
    id that was given, but for the last of `limit`.

    Args:
        logits: (1, vocab) after the last row of the cache, from `prefill`.
        ends: ids that end a reply (`Config.eos_token_ids`).
        limit: the most ids to give; the cache needs room for one fewer.
    """
    following = sampler(logits)
    mx.async_eval(following)
    for left in reversed(range(limit)):
        if cancelled is not None and cancelled():
            return
        token = following
        if left:
            following = sampler(logits_after(model, token, cache))
            mx.async_eval(following)
        drawn = cast(int, token.item())
        yield drawn
        if drawn in ends:
            return
        if left and left % FREED_TOKENS == 0:
            mx.clear_cache()


def logits_after(model: Gemma4, token: mx.array, cache: Cache) -> mx.array:
    """Feed one drawn id (1,) that need not be evaluated yet; logits (1, vocab)."""
    embeddings = model.language_model.model.embed(token)
    return model.logits(model.hidden(Inputs(embeddings, _NO_BLOCK), cache))[:, 0]


_NO_BLOCK = np.zeros(1, np.int32)
