"""One KV cache and what its rows hold: feeds what is new of a prompt, and goes back.

A prompt is compared with the rows that the cache holds, the rows from the first difference on are
dropped, and the rest is fed. So an undo, a picture that is put before a sound, or a thought that is
left out of the history needs no code of its own.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..chat.messages import ImagePart, Turn, VideoPart
from ..chat.render import Prompt
from ..generation.prefill_decode import Cancelled, Progress, decode, finish, prefill
from ..generation.sampler import Sampler
from ..limits import SEGMENT
from ..model.cache import Cache
from ..model.cache import Mark as CacheMark
from ..model.gemma4 import Gemma4
from .rows import Row, between, common, rows_of

_FEW = 64  # rows: feeding fewer in a step of their own would cost more than it saves


@dataclass(frozen=True, eq=False)
class Mark:
    """A place of a timeline: its cache, which may have been replaced since, and what it held."""

    cache: Cache
    place: CacheMark
    rows: tuple[Row, ...]
    kept: CacheMark | None


class Timeline:
    """What a model has read and said.

    Args:
        model: whose cache it is.
        kv_bits: 8 or 4 to quantize the full layers' rows.

    Attributes:
        kv_bits: as given.
        rows_per_second: how fast the last rows were fed; None until some were.
    """

    def __init__(self, model: Gemma4, kv_bits: int | None = None) -> None:
        self.rows_per_second: float | None = None
        self._model = model
        self.kv_bits = kv_bits
        self._cache = model.make_cache(kv_bits)
        self._rows: list[Row] = []
        self._kept: CacheMark | None = None

    def __len__(self) -> int:
        """Rows that are held."""
        return self._cache.offset

    @property
    def nbytes(self) -> int:
        """Bytes of the cache, with its free room."""
        return self._cache.nbytes

    def feed(
        self,
        prompt: Prompt,
        turns: Sequence[Turn],
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        keep: int | None = None,
    ) -> tuple[mx.array | None, int]:
        """Make the cache hold the prompt that was made of these turns, and nothing else.

        Args:
            prompt: what to hold.
            turns: what it was made of.
            progress: called with (tokens fed, tokens to feed).
            cancelled: asked between chunks whether to stop.
            keep: a row to which, or to a little before, the cache can then go back, however much
                follows.

        Returns:
            The logits (1, vocab) after it, None if cancelled; and how many tokens were to be fed.

        Raises:
            Gemma4Error: if the context is full or the prompt is not usable. What is held is then a
                beginning of it.
        """
        rows = rows_of(prompt, turns, self._model.config)
        # the last row is fed again in any case, for its logits
        self.go_back(min(common(rows, self._rows), len(rows) - 1))
        start = len(self)
        if keep is not None:
            if keep - start > _FEW:
                if self._read(prompt, rows, start, keep, progress, cancelled) is None:
                    return None, len(rows) - start
            self.keep()
        logits = self._read(prompt, rows, start, len(rows), progress, cancelled)
        return logits, len(rows) - start

    def prepare(
        self, prompt: Prompt, turns: Sequence[Turn], cancelled: Cancelled | None = None
    ) -> int:
        """As `feed`, but for more to follow: no row is fed again for its logits.

        Returns:
            How many tokens were fed.
        """
        rows = rows_of(prompt, turns, self._model.config)
        self.go_back(common(rows, self._rows))
        start = len(self)
        if self._kept is None:
            self.keep()
        if start < len(rows):
            self._read(prompt, rows, start, len(rows), None, cancelled)
        return len(self) - start

    def shared(self, prompt: Prompt, turns: Sequence[Turn]) -> int:
        """Count the rows of a prompt that are held, from its first on."""
        return common(rows_of(prompt, turns, self._model.config), self._rows)

    def say(
        self, logits: mx.array, sampler: Sampler, limit: int, cancelled: Cancelled | None = None
    ) -> Generator[int]:
        """Draw at most `limit` ids of a reply after what was fed, as `decode` does."""
        said: list[Row] = []
        ends = self._model.config.eos_token_ids
        drawing = decode(self._model, logits, self._cache, sampler, ends, limit, cancelled)
        try:
            with closing(drawing):
                for drawn in drawing:
                    said.append(drawn)
                    yield drawn
        finally:  # also where the reader stops in the middle
            self._rows = [*self._rows, *said][: self._cache.offset]

    def keep(self) -> None:
        """Be able to come back here, to this one place, however much follows."""
        self._kept = self._cache.mark()

    def mark(self) -> Mark:
        """Remember this place."""
        return Mark(self._cache, self._cache.mark(), tuple(self._rows), self._kept)

    def rewind(self, mark: Mark) -> None:
        """Go to a place that this timeline has marked."""
        self._cache, self._rows, self._kept = mark.cache, list(mark.rows), mark.kept
        self._cache.rewind(mark.place)

    def tensors(self) -> dict[str, mx.array]:
        """Give what the cache holds, for `fill`."""
        return self._cache.tensors()

    def fill(
        self, tensors: Mapping[str, mx.array], prompt: Prompt, turns: Sequence[Turn], count: int
    ) -> None:
        """Hold rows that were computed before: the first `count` of this prompt.

        Raises:
            Gemma4Error: if the tensors are not those of such a cache. Nothing is held then.
        """
        cache = self._model.make_cache(self.kv_bits)
        cache.fill(count, tensors)
        self._cache, self._kept = cache, None
        self._rows = rows_of(prompt, turns, self._model.config)[:count]

    def _read(
        self,
        prompt: Prompt,
        rows: list[Row],
        start: int,
        stop: int,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> mx.array | None:
        """Feed the rows from what is held to `stop`, some thousands at a time.

        Progress counts them from `start` on. Returns the logits of the last, None if cancelled.
        """

        def tell(base: int) -> Progress | None:
            total = len(rows) - start
            return None if progress is None else lambda done, _: progress(base + done, total)

        began, first = time.perf_counter(), len(self)
        logits = None
        try:
            while (at := len(self)) < stop:
                new = between(prompt, at, _segment(rows, at, stop), self._model.config)
                inputs = self._model.embed(
                    np.array(new.token_ids), new.images, new.videos, new.audio
                )
                steps = prefill(self._model, inputs, self._cache)
                logits = finish(steps, tell(at - start), cancelled)
                if logits is None:
                    return None
            mx.eval(logits)
        finally:
            self._rows = rows[: len(self)]
        if len(self) - first >= _FEW:
            self.rows_per_second = (len(self) - first) / (time.perf_counter() - began)
        return logits

    def go_back(self, row: int) -> None:
        """Drop the cache's rows from `row` on, or more where it cannot go back so little."""
        kept = self._kept
        if row >= self._cache.earliest:
            self._cache.rewind_to(row)
        elif kept is not None and kept.offset <= row:
            self._cache.rewind(kept)
        else:
            self._cache, kept = self._model.make_cache(self.kv_bits), None
        # a mark that lies ahead would keep the buffers of its time
        self._kept = kept if kept is not None and kept.offset <= len(self) else None
        del self._rows[len(self) :]


def _segment(rows: Sequence[Row], start: int, stop: int) -> int:
    """Where to end a segment that begins at a row: not inside a picture."""
    end = min(start + SEGMENT, stop)
    while (
        end < stop and isinstance(rows[end], ImagePart | VideoPart) and rows[end] == rows[end - 1]
    ):
        end += 1
    return end
