"""One KV cache and what its rows hold: feeds what is new of a prompt, and goes back.

A prompt is compared with the rows that the cache holds, the rows from the first difference on are
dropped, and the rest is fed. So an undo, a picture that is put before a sound, or a thought that is
left out of the history needs no code of its own.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from .cache import Cache
from .cache import Mark as CacheMark
from .generate import Cancelled, Progress, decode, prefill
from .model import Gemma4
from .prompt import Prompt
from .rows import Row, after, common, rows_of
from .sample import Sampler
from .turns import Turn


@dataclass(frozen=True, eq=False)
class Mark:
    """A place of a timeline: its cache, which may have been replaced since, and what it held."""

    cache: Cache
    place: CacheMark
    rows: tuple[Row, ...]


class Timeline:
    """What a model has read and said.

    Args:
        model: whose cache it is.
        kv_bits: 8 or 4 to quantize the full layers' rows.
    """

    def __init__(self, model: Gemma4, kv_bits: int | None = None) -> None:
        self._model = model
        self._kv_bits = kv_bits
        self._cache = model.make_cache(kv_bits)
        self._rows: list[Row] = []
        self._kept: CacheMark | None = None

    def feed(
        self,
        prompt: Prompt,
        turns: Sequence[Turn],
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> tuple[mx.array | None, int]:
        """Make the cache hold the prompt that was made of these turns, and nothing else.

        Returns:
            The logits (1, vocab) after it, None if cancelled; and how many tokens were to be fed.

        Raises:
            Gemma4Error: if the context is full.
        """
        config = self._model.config
        rows = rows_of(prompt, turns, config)
        # the last row is fed again in any case, for its logits
        self._go_back(min(common(rows, self._rows), len(rows) - 1))
        try:
            new = after(prompt, self._cache.offset, config)
            inputs = self._model.embed(np.array(new.token_ids), new.images, new.videos, new.audio)
            logits = prefill(
                self._model, inputs, self._cache, progress=progress, cancelled=cancelled
            )
        finally:
            self._rows = rows[: self._cache.offset]
        return logits, len(new.token_ids)

    def say(
        self, logits: mx.array, sampler: Sampler, limit: int, cancelled: Cancelled | None = None
    ) -> Generator[int]:
        """Draw at most `limit` ids of a reply after what was fed, as `decode` does."""
        said: list[Row] = []
        ends = self._model.config.eos_token_ids
        try:
            for drawn in decode(self._model, logits, self._cache, sampler, ends, limit, cancelled):
                said.append(drawn)
                yield drawn
        finally:  # also where the reader stops in the middle
            self._rows = [*self._rows, *said][: self._cache.offset]

    def keep(self) -> None:
        """Be able to come back here, to this one place, however much follows."""
        self._kept = self._cache.mark()

    def mark(self) -> Mark:
        """Remember this place."""
        return Mark(self._cache, self._cache.mark(), tuple(self._rows))

    def rewind(self, mark: Mark) -> None:
        """Go to a place that this timeline has marked."""
        self._cache, self._rows, self._kept = mark.cache, list(mark.rows), None
        self._cache.rewind(mark.place)

    def _go_back(self, row: int) -> None:
        """Drop the cache's rows from `row` on, or more where it cannot go back so little."""
        if row >= self._cache.earliest:
            self._cache.rewind_to(row)
        elif self._kept is not None and self._kept.offset <= row:
            self._cache.rewind(self._kept)
        else:
            self._cache, self._kept = self._model.make_cache(self._kv_bits), None
