"""One KV cache and what its rows hold: feeds what is new of a prompt, and goes back.

A prompt is compared with the rows that the cache holds, the rows from the first difference on are
dropped, and the rest is fed. So an undo, a picture that is put before a sound, or a thought that is
left out of the history needs no code of its own.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..generation.constrain import Constraint, decode_constrained
from ..generation.drafting import Draft, Drafting
from ..generation.prefill_decode import CHUNK, Cancelled, Steps, decode, prefill
from ..generation.sampler import Sampler
from ..limits import SEGMENT
from ..model import cache as kv
from ..model.gemma4 import Gemma4
from .rows import PromptRows, Row, common

_FEW = 64  # rows: feeding fewer in a step of their own would cost more than it saves


@dataclass(frozen=True, eq=False)
class PrefixMark:
    """A place of a prefix cache: its KV cache, which may have been replaced since, and its rows."""

    cache: kv.Cache
    place: kv.Mark
    rows: tuple[Row, ...]
    kept: kv.Mark | None
    checkpoint: kv.Mark | None


class PrefixCache:
    """What a model has read and drawn.

    Args:
        kv_bits: 8 or 4 to quantize the full layers' rows.

    Attributes:
        rows_per_second: how fast the last rows were fed; None until some were.
        chunk: called before each chunk for the number of its tokens.
    """

    def __init__(self, model: Gemma4, kv_bits: int | None = None, draft: Draft = "off") -> None:
        self.model = model
        self.kv_bits = kv_bits
        self.drafting = Drafting(model, draft)
        self.rows: Sequence[Row] = []
        self.rows_per_second: float | None = None
        self.chunk: Callable[[], int] = lambda: CHUNK
        self._cache = model.make_cache(kv_bits)
        self._kept: kv.Mark | None = None
        self._checkpoint: kv.Mark | None = None

    def __len__(self) -> int:
        """Rows that are held."""
        return self._cache.offset

    @property
    def nbytes(self) -> int:
        """Bytes of the cache, with its free room."""
        return self._cache.nbytes

    def feed(
        self, new: PromptRows, keep: int | None = None, checkpoint: int = 0
    ) -> Steps[tuple[mx.array, int]]:
        """Make the cache hold a prompt, and nothing else.

        Where it is closed early or fails, what is held is a prefix of the prompt.

        Args:
            keep: a row to which, or to a little before, the cache can then go back, however much
                follows.
            checkpoint: another, for conversations that start as this one; 0 for none.

        Yields:
            (tokens fed, tokens to feed) after each chunk.

        Returns:
            The hidden state (1, 1, hidden) of its last row, and how many tokens were fed.

        Raises:
            Gemma4Error: the context is full, or the prompt is not usable.
        """
        # the last row is fed again in any case, for its hidden state
        self.go_back(min(self.shared(new), len(new) - 1))
        start = len(self)
        if checkpoint - start > _FEW:
            yield from self._read(new, start, checkpoint)
            self._checkpoint = self._cache.mark()
        if keep is not None:
            if keep - len(self) > _FEW:
                yield from self._read(new, start, keep)
            if len(self) <= keep or self._kept is None:
                self.keep()
        hidden = yield from self._read(new, start, len(new))
        assert hidden is not None, "the last row at least was fed"
        return hidden, len(new) - start

    def prepare(self, new: PromptRows) -> Steps[int]:
        """As `feed`, but for more to follow: no row is fed again. Returns how many were fed."""
        self.go_back(self.shared(new))
        start = len(self)
        if self._kept is None:
            self.keep()
        yield from self._read(new, start, len(new))
        return len(self) - start

    def shared(self, new: PromptRows) -> int:
        """Count the rows of a prompt that are held, from its first on."""
        return common(new.rows, self.rows)

    def draw(
        self,
        hidden: mx.array,
        sampler: Sampler,
        limit: int,
        cancelled: Cancelled | None = None,
        constraint: Constraint | None = None,
    ) -> Generator[int]:
        """Draw at most `limit` ids of a reply after what was fed, as `decode` does."""
        drawn: list[Row] = []
        ends = self.model.config.eos_token_ids
        self.drafting.start(self.rows)
        place = self.model, hidden, self._cache, sampler, ends, limit
        drawing = (
            decode_constrained(*place, constraint, cancelled)
            if constraint
            else decode(*place, cancelled, None if sampler.remembers else self.drafting)
        )
        try:
            with closing(drawing):
                for token_id in drawing:
                    drawn.append(token_id)
                    if constraint or sampler.remembers:  # nothing was proposed
                        self.drafting.observe([token_id], 0)
                    yield token_id
        finally:  # also where the reader stops in the middle
            self.rows = [*self.rows, *drawn][: self._cache.offset]

    def keep(self) -> None:
        """Make this the one place to go back to, however much follows."""
        self._kept = self._cache.mark()

    def mark(self) -> PrefixMark:
        place = self._cache.mark()
        return PrefixMark(self._cache, place, tuple(self.rows), self._kept, self._checkpoint)

    def rewind(self, mark: PrefixMark) -> None:
        """Go to a place that was marked in this prefix cache."""
        self._cache, self.rows = mark.cache, list(mark.rows)
        self._kept, self._checkpoint = mark.kept, mark.checkpoint
        self._cache.rewind(mark.place)

    def go_back(self, row: int) -> None:
        """Drop the rows from `row` on; more where the cache can only go back further."""
        place = self._place(row)
        if row >= self._cache.earliest:
            self._cache.rewind_to(row)
        elif place is not None:
            self._cache.rewind(place)
        else:
            self._cache = self.model.make_cache(self.kv_bits)
        # a mark that is ahead would keep the buffers of its time
        self._kept = self._kept if self._kept and self._kept.offset <= len(self) else None
        ahead = self._checkpoint is not None and self._checkpoint.offset > len(self)
        self._checkpoint = None if ahead else self._checkpoint
        if len(self) < len(self.rows):
            self.rows = self.rows[: len(self)]

    def reaches(self, row: int) -> int:
        """How many rows would be left after `go_back`."""
        place = self._place(row)
        return row if row >= self._cache.earliest else place.offset if place else 0

    def fork(self, row: int) -> "PrefixCache":
        """Another prefix cache with this one's rows up to `row`, or fewer, as after `go_back`.

        Buffers are shared until one of the two writes.
        """
        here = self.mark()
        other = PrefixCache(self.model, self.kv_bits, self.drafting.draft)
        self.go_back(row)
        tensors = self._cache.tensors()
        mx.eval(tensors)
        other.fill(tensors, self.rows)
        if self._checkpoint is not None:
            other._checkpoint = other._cache.adopt(self._checkpoint)
        self.rewind(here)
        return other

    def _place(self, row: int) -> kv.Mark | None:
        """The last place that was kept, at `row` or before it."""
        kept = [m for m in (self._checkpoint, self._kept) if m is not None and m.offset <= row]
        return max(kept, key=lambda mark: mark.offset, default=None)

    def tensors(self) -> tuple[dict[str, mx.array], int]:
        """What the cache holds, for `fill`, and the fewest rows to go back to once it is filled."""
        tensors = self._cache.tensors()
        filled = self.model.make_cache(self.kv_bits)
        filled.fill(len(self), tensors)
        return tensors, filled.earliest

    def fill(self, tensors: Mapping[str, mx.array], rows: Sequence[Row]) -> None:
        """Hold rows that were computed before.

        Raises:
            Gemma4Error: the tensors are not those of such a cache; what was held stays.
        """
        cache = self.model.make_cache(self.kv_bits)
        cache.fill(len(rows), tensors)
        self._cache, self.rows = cache, rows
        self._kept = self._checkpoint = None

    def _read(self, new: PromptRows, start: int, stop: int) -> Steps[mx.array | None]:
        """Feed the rows from what is held to `stop`; progress counts them from `start` on."""
        hidden, seconds, first = None, 0.0, len(self)
        if first >= stop:
            return None
        try:
            while (at := len(self)) < stop:
                started = time.perf_counter()
                part = new.between(at, new.segment(at, stop, SEGMENT))
                ids = np.array(part.token_ids)
                inputs = self.model.embed(ids, part.images, part.videos, part.audio)
                with closing(prefill(self.model, inputs, self._cache, self.chunk)) as steps:
                    while True:
                        try:
                            done, _ = next(steps)
                        except StopIteration as end:
                            hidden = end.value
                            break
                        seconds += time.perf_counter() - started
                        yield at - start + done, len(new) - start
                        started = time.perf_counter()  # others may have worked in between
        finally:
            self.rows = new.rows[: len(self)]
        if len(self) - first >= _FEW:
            self.rows_per_second = (len(self) - first) / seconds
        return hidden
