"""What each part of a cut model takes of memory, and the best cut. Imports no MLX.

The best cut has room for the longest conversation; among those with equal room, it is the one whose
slowest part takes the least time for a chunk of a prompt, as all parts work on chunks at once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from ..errors import Gemma4Error
from ..footprint import estimate
from ..footprint.estimate import LEAST_CONTEXT, Machine, Model
from ..footprint.summary import Outline
from .cut import Cut, least_of_leader, part_tensors
from .hosts import LOCAL, Facts

CONTEXTS = (262144, 131072, 65536, 32768, 16384, 8192, LEAST_CONTEXT)
"""Tokens of a conversation that are tried, the most first."""
_SPEEDS = 4  # steps between a speed and its double: repeated measurements should come out equal


@dataclass(frozen=True)
class Computer:
    """A computer that may hold a part.

    Attributes:
        name: for people.
        machine: what a model may take there.
        speed: as measured.
        taken: which other programs hold a model there; empty for none.
    """

    name: str
    machine: Machine
    speed: float = 1.0
    taken: str = ""


def computers_of(own: Computer, names: Sequence[str], facts: Sequence[Facts]) -> list[Computer]:
    """This computer, and those with these facts; workers that are here share its memory."""
    found = [own]
    for name, known in zip(names, facts, strict=True):
        found.append(Computer(name, known.machine, known.speed, known.taken))
    here = 1 + names.count(LOCAL)
    for n, one in enumerate(found):
        if n == 0 or names[n - 1] == LOCAL:
            machine = replace(one.machine, budget=one.machine.budget // here)
            found[n] = replace(one, machine=machine, speed=own.speed)  # measured all at once
    return found


def part(model: Model, layers: range, leads: bool) -> Model:
    """The part of a model with these layers, to estimate what it takes."""
    kinds = model.text.layer_types[layers.start : layers.stop]
    text = replace(model.text, layer_types=kinds, num_hidden_layers=len(kinds))
    tensors = part_tensors(model.tensors, layers, leads)
    if not leads:  # no head
        return Model(replace(text, vocab_size=0), tensors)
    if model.drafter is not None:  # rows of the last layer of each kind are here too
        kinds += tuple(kind for kind, last in model.text.last_layers.items() if last not in layers)
        text = replace(text, layer_types=kinds)
    return Model(text, tensors, model.drafter, model.proposals)


def parts(model: Model, cut: Cut) -> list[Model]:
    return [part(model, cut.layers(rank), not rank) for rank in range(cut.ranks)]


def least_need(model: Model, machine: Machine) -> int:
    """Bytes of a part with the shortest useful conversation."""
    context = min(LEAST_CONTEXT, model.text.max_position_embeddings)
    return estimate.need(model, machine, context).total


def largest_context(
    model: Model,
    cut: Cut,
    computers: Sequence[Computer],
    kv_bits: int | None = None,
    conversations: int = 1,
) -> int:
    """How long so many conversations may be, in tokens; 0: they do not fit."""
    found = zip(parts(model, cut), computers, strict=True)
    return min(
        estimate.largest_context(one, at.machine, kv_bits, conversations) for one, at in found
    )


def best(outline: Outline, computers: Sequence[Computer]) -> Cut:
    """The best cut.

    Args:
        computers: the leader, then the others in the order of their layers.

    Raises:
        Gemma4Error: no cut has room for even a short conversation.
    """
    cut = best_of(outline.model, computers, least_of_leader(outline.config))
    if cut is None:
        size = estimate.weights(outline.model, computers[0].machine)
        budgets = " + ".join(f"{one.machine.budget / 1e9:.2f}" for one in computers)
        taken = "".join(f" On {one.name}, {one.taken}." for one in computers if one.taken)
        raise Gemma4Error(
            "memory_too_small",
            "The model does not fit into the memory",
            f"{outline.name} takes {size / 1e9:.2f} GB for its weights, and the computers have "
            f"{budgets} GB for a model.{taken}",
            "See what fits: gemma4 fit --hosts. To load it all the same: --force, or --cut.",
        )
    return cut


def best_of(
    model: Model, computers: Sequence[Computer], least: int = 1, kv_bits: int | None = None
) -> Cut | None:
    """As `best`; None where nothing fits."""
    count = len(model.text.layer_types)
    speeds = [_step(one.speed) for one in computers]

    @functools.cache
    def part_of(rank: int, start: int, stop: int) -> Model:
        return part(model, range(start, stop), not rank)

    @functools.cache
    def fits(rank: int, start: int, stop: int, context: int) -> bool:
        machine = computers[rank].machine
        needed = estimate.need(part_of(rank, start, stop), machine, context, kv_bits).total
        return needed <= machine.budget

    def time(cut: Cut) -> float:
        return max(len(cut.layers(rank)) / speed for rank, speed in enumerate(speeds))

    stops = combinations(range(least, count), len(computers) - 1)
    cuts = [Cut((*before, count)) for before in stops]
    cuts.sort(key=lambda cut: (time(cut), cut.stops))
    for context in CONTEXTS:
        context = min(context, model.text.max_position_embeddings)
        for cut in cuts:
            held = (cut.layers(rank) for rank in range(cut.ranks))
            if all(fits(rank, part.start, part.stop, context) for rank, part in enumerate(held)):
                return cut
    return None


def _step(speed: float) -> float:
    """A speed, rounded to one of a few."""
    return float(2 ** (round(math.log2(max(speed, 1e-9)) * _SPEEDS) / _SPEEDS))
