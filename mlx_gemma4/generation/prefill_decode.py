"""Prefill in chunks and decode one token after another, over one cache: both are generators.

Whoever drives them may do other work between two steps, or cancel by closing them. They know
nothing of text, turns or media: embedded inputs go in, ids come out.
"""

from collections.abc import Callable, Collection, Generator
from typing import TypeVar, cast

import mlx.core as mx

from ..limits import CHUNKS, FREED_TOKENS
from ..model.cache import Cache
from ..model.gemma4 import Gemma4
from ..model.inputs import Inputs
from .drafting import Drafting
from .sampler import Sampler
from .speculate import Place, after, verify

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
        chunk: tokens in a chunk, or a function that is called for them before each.

    Yields:
        (tokens done, tokens in all) after each chunk.

    Returns:
        The hidden state (1, 1, hidden) of the last row, after the final norm: `decode`
        continues from it.

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
    return hidden[:, -1:]


def finish(
    steps: Steps[Result], progress: Progress | None = None, cancelled: Cancelled | None = None
) -> Result | None:
    """Drive steps to their end; return their result, or None if they were cancelled before.

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
    hidden: mx.array,
    cache: Cache,
    sampler: Sampler,
    ends: Collection[int],
    limit: int,
    cancelled: Cancelled | None = None,
    proposer: Drafting | None = None,
) -> Generator[int]:
    """Draw ids until one of `ends` (which is yielded too), `limit` ids, or a cancel.

    Without proposals the next id is already being computed while the caller handles one. A proposal
    costs nothing but time: every id is the sampler's own draw, by the keys that it would have had.
    When this ends, or is closed at any id, the cache holds every id that was yielded, but perhaps
    for the last.

    Args:
        hidden: (1, 1, hidden) of the last row of the cache, from `prefill`.
        ends: ids that end a reply (`Config.eos_token_ids`).
        limit: the most ids to draw; the cache needs room for one fewer.
        proposer: proposes the ids that may follow the next one.
    """
    start, given = cache.offset, 0
    final = model.final(hidden)
    place = Place(sampler(model.language_model.logits(final)[:, 0]), final)
    mx.async_eval(place.following)
    try:
        while given < limit:
            if cancelled is not None and cancelled():
                return
            most = limit - given - 2  # the id itself, and the one after the last proposal
            drafts = proposer.propose(place, cache, most) if proposer and most > 0 else None
            if drafts is not None:
                place, ids = verify(model, cache, sampler, place, drafts)
            else:
                token, known = place.following, place.known
                if given + 1 < limit:
                    place = after(model, cache, sampler, token)
                    mx.async_eval(place.following)
                # asking for a known one would wait for the forward that has just been started
                ids = [cast(int, token.item()) if known is None else known]
            end = next((n for n, drawn in enumerate(ids) if drawn in ends), len(ids))
            ids = ids[: end + 1]  # what was accepted after it is of no use
            if proposer is not None and given + 1 < limit:
                proposer.observe(ids, 0 if drafts is None else len(drafts))
            for number, drawn in enumerate(ids):
                if number and cancelled is not None and cancelled():
                    return
                given += 1
                yield drawn
                if drawn in ends:
                    return
                if given % FREED_TOKENS == 0:
                    mx.clear_cache()
    finally:
        if cache.offset > start + given:
            cache.rewind_to(start + given)
