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

from ..checkpoint.permute import permute
from ..model import metal
from ..model.attention import Dense, Quantized
from ..model.cache import Cache, GlobalCache, Mark, Rows, SlidingCache
from ..model.config import Config
from ..model.gemma4 import SCORE_LIMIT, SLACK, Gemma4
from ..model.inputs import Inputs
from ..model.text import Attention, Layout, attention_of
from .crew import Crew, WorkerProcess
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
        borrowed: Mapping[int, SlidingCache | GlobalCache],
    ) -> None:
        super().__init__(layers)
        self._crew, self.number = crew, crew.number()
        self._borrowed, self._until = borrowed, dict.fromkeys(borrowed, 0)
        crew.broadcast("cache", self.number, kv_bits, slack)
        weakref.finalize(self, crew.later, "drop", self.number)

    @property
    def arrays(self) -> list[mx.array]:
        """As `Cache.arrays`, of what is on this computer."""
        borrowed = self._borrowed.values()
        return super().arrays + [array for layer in borrowed for array in layer.rows.arrays]

    def mark(self) -> Mark:
        mark = super().mark()
        assert isinstance(mark, MirroredMark)
        self._crew.broadcast("mark", self.number, mark.number)
        return mark

    def adopt(self, mark: Mark) -> Mark:
        own = super().adopt(mark)
        assert isinstance(own, MirroredMark) and isinstance(mark, MirroredMark)
        self._crew.broadcast("adopt", self.number, mark.number, own.number)
        return own

    def _remembered(self, mark: Mark) -> Mark:
        number = self._crew.number()
        mirrored = MirroredMark(mark.offset, mark.buffers, number)
        weakref.finalize(mirrored, self._crew.later, "forget", number)
        return super()._remembered(mirrored)

    def rewind(self, mark: Mark) -> None:
        super().rewind(mark)
        self._until = dict.fromkeys(self._until, 0)  # what was fed after it may have been replaced
        assert isinstance(mark, MirroredMark)
        self._crew.broadcast("rewind", self.number, mark.number)

    def rewind_to(self, offset: int) -> None:
        super().rewind_to(offset)
        self._until = {layer: min(until, offset) for layer, until in self._until.items()}
        self._crew.broadcast("rewind_to", self.number, offset)

    def tensors(self) -> dict[str, mx.array]:
        """As `Cache.tensors`, of all layers: those of the workers are fetched."""
        result = super().tensors()
        for worker in self._crew.workers:
            self._crew.send(worker, "fetch", self.number, None, 0)
            result |= self._fetched(worker)
        return result

    def seen(self, layer: int, more: int = 0) -> Dense | Quantized:
        """As `Cache.seen`, also of the layers whose rows are borrowed: missing ones are fetched.

        Args:
            layer: this computer's, or a borrowed one.
            more: as in `Cache.seen`.
        """
        if layer not in self._borrowed:
            return super().seen(layer, more)
        firsts = {number: self._first(number, more) for number in self._borrowed}
        asked = []
        for number, first in firsts.items():  # one way there and back for all of them
            rows, until = self._borrowed[number].rows, self._until[number]
            if not rows.start <= first <= until:
                self._borrowed[number].rows, until = Rows(first), first
            if until < self.offset:
                worker = next(one for one in self._crew.workers if number in one.layers)
                asked.append((number, until, worker))
                self._crew.send(worker, "fetch", self.number, number, until)
        for number, until, worker in asked:
            self._keep(number, until, firsts[number], tuple(self._fetched(worker).values()))
        held = self._borrowed[layer]
        if isinstance(held, GlobalCache):
            return held.seen(self.offset)
        return Dense(*held.rows.view(firsts[layer], self.offset))

    def _keep(self, number: int, until: int, first: int, new: tuple[mx.array, ...]) -> None:
        held = self._borrowed[number]
        if not held.rows.fits(self.offset):
            slack = held.slack if isinstance(held, SlidingCache) else 0
            start = max(held.rows.start, first - slack)
            held.rows = held.rows.moved(start, until, new)
        held.rows.write(until, new)
        self._until[number] = self.offset

    def _first(self, number: int, more: int) -> int:
        """The first row that the last one sees: sliding layers hold the same ones everywhere."""
        held = self._borrowed[number]
        if isinstance(held, GlobalCache):
            return 0
        start = next(one.rows.start for one in self.layers if isinstance(one, SlidingCache))
        return max(start, self.offset - held.window - more)

    def _fetched(self, worker: WorkerProcess) -> dict[str, mx.array]:
        """What a worker sends after "fetch"."""
        _, described = self._crew.reply(worker, "tensors")
        return {
            name: self._crew.ring.receive(shape, getattr(mx, dtype), worker.rank)
            for name, shape, dtype in described
        }

    def fill(self, offset: int, tensors: Mapping[str, mx.array]) -> None:
        """As `Cache.fill`, of all layers: those of the workers are sent."""
        super().fill(offset, tensors)
        self._until = dict.fromkeys(self._until, 0)
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
            crew.send(worker, "fill", self.number, offset, list(theirs), specs)
            for tensor in theirs.values():
                crew.ring.send(tensor, worker.rank)


class LeadingModel(Gemma4):
    """The first layers, and all of a model that is no layer; the other layers are the workers'.

    Args:
        config: of this part.
        layout: see `Gemma4`.
        crew: who has the other layers.
    """

    def __init__(self, config: Config, layout: Layout, crew: Crew) -> None:
        super().__init__(config, layout)
        self.crew = crew
        object.__setattr__(self, "_others", {})  # else they would be layers of this computer
        self._others: dict[int, Attention]

    def borrow(self, config: Config, norms: Mapping[str, mx.array], dtype: mx.Dtype | None) -> None:
        """Have the rows of the last layers here where a drafter reads them (`Cache.seen`).

        Args:
            config: of the whole model.
            norms: the weights of `k_norm` by their names in the folder.
            dtype: see `load_folder`.
        """
        text, own = config.text_config, len(self.language_model.model.layers)
        norms = permute(norms, text) if self.layout == "one_row" else norms
        for number in text.last_layers.values():
            if number >= own:
                attention = attention_of(text, text.layer_types[number], self.layout)
                for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm"):
                    attention.pop(name, None)
                weight = norms[f"language_model.model.layers.{number}.self_attn.k_norm.weight"]
                attention.k_norm.weight = weight if dtype is None else weight.astype(dtype)
                mx.eval(attention.parameters())
                self._others[number] = attention

    def make_cache(self, kv_bits: int | None = None, slack: int = SLACK) -> Cache:
        layers = super().make_cache(kv_bits, slack).layers
        borrowed = {n: one.make_cache(kv_bits, slack) for n, one in self._others.items()}
        cache = MirroredCache(layers, self.crew, kv_bits, slack, borrowed)
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
            self.crew.send(worker, "step", cache.number, blocks, specs)
        self.crew.ring.send(states, self.crew.ring.right)
        return states

    def final(self, hidden: mx.array) -> mx.array:
        """Fetch the last rows of the step before, as many as `hidden` has, after the final norm."""
        ring = self.crew.ring
        self.crew.broadcast("logits", hidden.shape[1])
        rows = ring.receive(hidden.shape, hidden.dtype, ring.left)
        final: mx.array = self.language_model.model.norm(rows)
        return final

    def attention(self, layer: int) -> Attention:
        """As `Gemma4.attention`, of this computer's layers and of those whose rows are borrowed."""
        return self._others[layer] if layer in self._others else super().attention(layer)
