"""`gemma4 fit --hosts`: which models fit over several computers, and where they are cut."""

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..checkpoint.recipes import RECIPES
from ..cluster import facts, fit
from ..cluster.cut import Cut, at, least_of_leader
from ..cluster.fit import Computer
from ..cluster.hosts import MOST, Hosts, read_cut, unusable
from ..footprint import estimate, summary
from . import hosting
from .streams import put

if TYPE_CHECKING:
    from ..footprint.estimate import Model
    from ..footprint.summary import Outline

_SIZE = re.compile(r"(\d+)\s*(GB|GiB|G)", re.IGNORECASE)


def report(
    options: argparse.Namespace,
    models: list[str],
    contexts: tuple[int, ...],
    gigabytes: Callable[[str], int],
) -> None:
    """Print a table for each model.

    Args:
        gigabytes: reads a Mac's memory.
    """
    computers = _computers(options, gigabytes)
    for one in computers:
        beside = f"; {one.taken}" if one.taken else ""
        budget = f"{one.machine.budget / 1e9:.2f} GB for a model ({one.machine.rule})"
        put(f"{one.name}: {budget}{beside}")
    kv = "as computed" if options.kv_bits is None else f"in {options.kv_bits} bits"
    for name in models:
        outline = summary.of(name)
        if options.drafter is not None:
            outline = replace(outline, drafter=summary.of_drafter(options.drafter))
        put(f"\n{name}, known from {outline.source}; rows of the full layers {kv}\n")
        longest = outline.config.text_config.max_position_embeddings
        wanted = [n for n in contexts if n <= longest] or [longest]
        if options.context is not None:
            wanted = [min(options.context, longest)]
        for line in _lines(outline, computers, wanted, options):
            put(line.rstrip())
    put(
        "\nGB of 10^9 bytes on each computer, in their order; the cut is in layers.\n! does not "
        "fit. What `gemma4 fit` prints about exactness holds for each part."
    )


def _computers(options: argparse.Namespace, gigabytes: Callable[[str], int]) -> list[Computer]:
    """This computer, or the Mac of --memory; then the hosts, or Macs of so much memory."""
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


def _lines(
    outline: "Outline", computers: list[Computer], contexts: list[int], options: argparse.Namespace
) -> list[str]:
    models = {"as it is": outline.model}
    if outline.config.quantization is None:
        models = {name: outline.converted(recipe) for name, recipe in RECIPES.items()}
    rows = [["", "cut", *(f"{n:,} tokens" for n in contexts), "most tokens"]]
    for name, model in models.items():
        cut = _cut(outline, model, computers, options)
        most = fit.largest_context(model, cut, computers, options.kv_bits)
        cells = [_cell(model, cut, computers, n, options.kv_bits) for n in contexts]
        rows.append([name, str(cut), *cells, f"{most:,}" if most else "none"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


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
