"""`gemma4 fit --hosts`: which models fit over several computers, and where they are cut."""

import argparse
import re
from typing import TYPE_CHECKING

from ..cluster import facts, fit
from ..cluster.cut import Cut, at, least_of_leader
from ..cluster.fit import Computer
from ..cluster.hosts import MOST, Hosts, read_cut, unusable
from ..footprint import estimate
from . import hosting
from .options import gigabytes
from .streams import put

if TYPE_CHECKING:
    from ..footprint.estimate import Model
    from ..footprint.summary import Outline

_SIZE = re.compile(r"(\d+)\s*(GB|GiB|G)", re.IGNORECASE)

END = (
    "\nGB of 10^9 bytes on each computer, in their order; the cut is in layers.\n! does not "
    "fit. What `gemma4 fit` prints about exactness holds for each part."
)


def computers(options: argparse.Namespace) -> list[Computer]:
    """Print and return this computer or the Mac of --memory, then the hosts or Macs by size."""
    found = _computers(options)
    for one in found:
        beside = f"; {one.taken}" if one.taken else ""
        budget = f"{one.machine.budget / 1e9:.2f} GB for a model ({one.machine.rule})"
        put(f"{one.name}: {budget}{beside}")
    return found


def _computers(options: argparse.Namespace) -> list[Computer]:
    own, taken = (
        facts.machine() if options.memory is None else (estimate.mac(gigabytes(options.memory)), "")
    )
    names = [name.strip() for name in options.hosts.split(",")]
    sizes = [bool(_SIZE.fullmatch(name)) for name in names]
    if any(sizes):
        if not all(sizes):
            raise unusable("Some are names, some are sizes.", "Use either: --hosts 16GB,16GB.")
        if len(names) > MOST:
            raise unusable(f"They are {len(names)}.", f"Name at most {MOST}.")
        others = [estimate.mac(gigabytes(name)) for name in names]
        return [Computer(one.name, one) for one in (own, *others)]
    from ..cluster.survey import gather

    hosts = hosting.chosen(options)
    assert isinstance(hosts, Hosts)
    here = Computer("this computer", own, facts.speed(), taken)
    return fit.computers_of(here, hosts.names, gather(hosts))


def cells(
    computers: list[Computer],
    options: argparse.Namespace,
    outline: "Outline",
    model: "Model",
    contexts: list[int],
) -> list[str]:
    """Where a model is cut, what it takes with each context, and the longest that fits."""
    cut = _cut(outline, model, computers, options)
    most = fit.largest_context(model, cut, computers, options.kv_bits)
    totals = [_cell(model, cut, computers, n, options.kv_bits) for n in contexts]
    return [str(cut), *totals, f"{most:,}" if most else "none"]


def _cut(
    outline: "Outline", model: "Model", computers: list[Computer], options: argparse.Namespace
) -> Cut:
    """The cut that is asked for, or the best; where nothing fits, an even one."""
    ranks, count = len(computers), len(model.text.layer_types)
    if options.cut:
        return at(read_cut(options.cut), outline.config, ranks)
    best = fit.best_of(model, computers, least_of_leader(outline.config), options.kv_bits)
    even = tuple(count * rank // ranks for rank in range(1, ranks))
    return best or at(even, outline.config, ranks)


def _cell(
    model: "Model", cut: Cut, computers: list[Computer], context: int, kv_bits: int | None
) -> str:
    parts = zip(fit.parts(model, cut), computers, strict=True)
    totals = [
        (estimate.need(part, one.machine, context, kv_bits).total, one.machine.budget)
        for part, one in parts
    ]
    text = " + ".join(f"{total / 1e9:.2f}" for total, _ in totals)
    return text + (" " if all(total <= budget for total, budget in totals) else "!")
