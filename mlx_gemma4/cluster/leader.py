"""The model as its leader has it: its own layers here, and every move of a cache mirrored.

Whoever uses it sees a `Gemma4`. What `hidden` returns has the right shape, and the last rows of it
may be passed to `logits`; its values are those after this computer's layers only.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..model import metal
from ..model.cache import Cache, GlobalCache, Mark, SlidingCache
from ..model.config import Config
from ..model.gemma4 import SCORE_LIMIT, SLACK, Gemma4
from ..model.inputs import Inputs
from ..model.text import Layout
from .crew import Crew
from .worker import type_name


@dataclass(frozen=True, eq=False)
class MirroredMark(Mark):
    """A mark that the workers have too, by a number."""

    number: int


class MirroredCache(Cache):
    """A cache of this computer's layers whose every move the workers mirror."""

    def __init__(
        self,
        layers: list[SlidingCache | GlobalCache],
        crew: Crew,
        kv_bits: int | None,
        slack: int,
    ) -> None:
        super().__init__(layers)
        self._crew, self.number = crew, crew.number()
        crew.tell("cache", self.number, kv_bits, slack)
        weakref.finalize(self, crew.later, "drop", self.number)

    def mark(self) -> Mark:
        """As `Cache.mark`."""
        number = self._crew.number()
        mark = MirroredMark(self.offset, tuple(layer.rows for layer in self.layers), number)
        self._marks.add(mark)
        self._crew.tell("mark", self.number, number)
        weakref.finalize(mark, self._crew.later, "forget", number)
        return mark

    def rewind(self, mark: Mark) -> None:
        """As `Cache.rewind`."""
        super().rewind(mark)
        assert isinstance(mark, MirroredMark)
        self._crew.tell("rewind", self.number, mark.number)

    def rewind_to(self, offset: int) -> None:
        """As `Cache.rewind_to`."""
        super().rewind_to(offset)
        self._crew.tell("rewind_to", self.number, offset)

    def tensors(self) -> dict[str, mx.array]:
        """As `Cache.tensors`, of all layers: those of the workers are fetched."""
        result = super().tensors()
        for worker in self._crew.workers:
            self._crew.tell_one(worker, "fetch", self.number)
            _, described = self._crew.reply(worker, "tensors")
            for name, shape, dtype in described:
                result[name] = self._crew.ring.receive(shape, getattr(mx, dtype), worker.rank)
        return result

    def fill(self, offset: int, tensors: Mapping[str, mx.array]) -> None:
        """As `Cache.fill`, of all layers: those of the workers are sent."""
        super().fill(offset, tensors)
        crew = self._crew
        for worker in crew.workers:
            first, stop = worker.layers.start, worker.layers.stop
            theirs = {
                f"{int(name.split('.')[0]) - first}.{name.split('.')[1]}": mx.contiguous(tensor)
                for name, tensor in tensors.items()
                if first <= int(name.split(".")[0]) < stop
            }
            mx.eval(theirs)
            specs = [[list(t.shape), type_name(t.dtype), 0] for t in theirs.values()]
            crew.tell_one(worker, "fill", self.number, offset, list(theirs), specs)
            for tensor in theirs.values():
                crew.ring.send(tensor, worker.rank)


class LeadingModel(Gemma4):
    """The first layers, and all of a model that is no layer; the other layers are the workers'.

    Args:
        config: of this part.
        layout: see `Gemma4`.
        crew: who has the other layers.

    Attributes:
        crew: as passed.
    """

    def __init__(self, config: Config, layout: Layout, crew: Crew) -> None:
        super().__init__(config, layout)
        self.crew = crew

    def make_cache(self, kv_bits: int | None = None, slack: int = SLACK) -> Cache:
        """As `Gemma4.make_cache`."""
        layers = super().make_cache(kv_bits, slack).layers
        cache = MirroredCache(layers, self.crew, kv_bits, slack)
        metal.wire_while_alive(cache)
        return cache

    def hidden(self, inputs: Inputs, cache: Cache, score_limit: int = SCORE_LIMIT) -> mx.array:
        """Feed `inputs` to all layers, and return without waiting for the workers."""
        if not isinstance(cache, MirroredCache):
            raise TypeError("a cache of this model is needed")
        self.crew.check()
        states = self.states(inputs, cache, score_limit)
        mx.eval(states)
        blocks = inputs.blocks.tolist() if np.any(inputs.blocks) else None
        spec = [list(states.shape), type_name(states.dtype)]
        for worker in self.crew.workers:
            specs = [[*spec, worker.rank - 1]]
            self.crew.tell_one(worker, "step", cache.number, blocks, specs)
        self.crew.ring.send(states, self.crew.ring.right)
        return states

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits of the last rows of the step before, as many as `hidden` has."""
        ring = self.crew.ring
        self.crew.tell("logits", hidden.shape[1])
        rows = ring.receive(hidden.shape, hidden.dtype, ring.left)
        return super().logits(self.language_model.model.norm(rows))
