"""The commands about this computer, `gemma4 fit` and `gemma4 doctor`; both print on stdout."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ..hub import catalog
from . import hosting
from .options import Option, Subcommand, gigabytes, not_understood, out_of_range
from .streams import inform, put

if TYPE_CHECKING:
    from ..footprint.estimate import Machine, Model
    from ..footprint.summary import Outline

CONTEXTS = (8192, 32768, 131072, 262144)
LENGTHS = (256, 512, 1024, 2048, 4096)
"""Tokens of conversations that are learned: the columns with --tune."""

Cells = Callable[["Outline", "Model", list[int]], list[str]]
"""Makes the cells of a line of the table, after the name of its recipe."""

_FIT_OPTIONS = (
    Option(
        "models",
        f"a folder, a name of Package.toml, or owner/name on the Hub ({catalog.USUAL})",
        "MODEL",
        many=True,
    ),
    Option("--context", "tokens of a conversation (a table over several)", "N", int),
    Option("--kv-bits", "rows of the full layers in 8 or 4 bits", "N", int, (8, 4)),
    Option("--drafter", "count a drafter too, by its folder or name", "NAME|FOLDER"),
    Option("--tune", "what `gemma4 tune` takes, by the length of a conversation"),
    Option("--rank", "with --tune: rank of the adapter's matrices", "N", int, default=8),
    Option("--last-layers", "with --tune: train so many layers at the end only", "N", int),
    Option("--memory", "ask for a Mac with so much memory, as 16GB (this computer)", "SIZE"),
    Option("--hosts", "spread over these hosts, or over Macs of so much memory", "HOST|SIZE,..."),
    *hosting.OPTIONS[1:],
    Option("--machines", "print what Macs of each size take of the 12B, as the README has it"),
)
_DOCTOR_OPTIONS = (
    hosting.HOSTS,
    hosting.REMOTE,
    Option("--json", "print one JSON list"),
    Option("--report", "print what an issue needs: no text, names of yours, media or paths"),
)


def _fit(options: argparse.Namespace) -> None:
    from ..checkpoint.recipes import RECIPES
    from ..footprint import device, estimate, summary

    for name in ("rank", "last_layers", "context"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise out_of_range(name, value, "1 or more")
    if options.machines:
        from .machines import markdown

        put(markdown())
        return
    cells: Cells
    if options.hosts is None:
        hosting.chosen(options)  # an error where the others were given without --hosts
        place = device.this() if options.memory is None else estimate.mac(gigabytes(options.memory))
        put(f"{place.name}: {place.budget / 1e9:.2f} GB for a model ({place.rule})")
        second, cells, end = "weights", partial(_cells, place, options), _end(place, options.tune)
    elif options.tune:
        raise not_understood("Training uses one computer.", "Leave out --hosts or --tune.")
    else:
        from . import fit_hosts

        computers = fit_hosts.computers(options)
        second, cells, end = "cut", partial(fit_hosts.cells, computers, options), fit_hosts.END
    usual = LENGTHS if options.tune else CONTEXTS
    for name in options.models or [catalog.USUAL]:
        found = summary.of(name)
        if options.drafter:
            found = replace(found, drafter=summary.of_drafter(options.drafter))
        put(f"\n{name}, known from {found.source}; {_what(options)}\n")
        longest = found.config.text_config.max_position_embeddings
        contexts = [n for n in usual if n <= longest] or [longest]
        if options.context is not None:
            contexts = [min(options.context, longest)]
        models = {"as it is": found.model}
        if found.config.quantization is None:
            models = {recipe: found.converted(RECIPES[recipe]) for recipe in RECIPES}
        rows = [["", second, *(f"{n:,} tokens" for n in contexts), "most tokens"]]
        rows += [[recipe, *cells(found, model, contexts)] for recipe, model in models.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            line = "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            put(line.rstrip())
    put(end)


def _end(place: "Machine", tune: bool) -> str:
    """The text below the table: what its figures are, and how exact."""
    parts = (
        "weights, rows (KV), places to go back to, 20 screenshots and working memory at the peak"
    )
    if tune:
        parts = "weights, adapter, its gradients and Adam's averages, and a step at its peak"
    exact = "" if tune else "Weights, rows and pictures are exact. "
    measured = (
        ", and was measured on a CPU like this one."
        if place.backend == "cpu"
        else "; it was measured on a CPU only, not on this kind of machine."
    )
    about = f"! does not fit. {exact}Working memory is computed{measured}"
    return f"\nGB of 10^9 bytes: {parts}.\n{about}"


def _what(options: argparse.Namespace) -> str:
    if options.tune:
        layers = f"the last {options.last_layers}" if options.last_layers else "all"
        return f"training an adapter of rank {options.rank} over {layers} layers"
    kv = "as computed" if options.kv_bits is None else f"in {options.kv_bits} bits"
    return f"rows of the full layers {kv}"


def _cells(
    place: "Machine", options: argparse.Namespace, _: "Outline", model: "Model", contexts: list[int]
) -> list[str]:
    """What a model weighs, what it takes with each context, and the longest that fits."""
    from ..footprint import estimate

    own: tuple[Any, ...] = (options.kv_bits,)
    need: Any = estimate.need
    most_of: Any = estimate.largest_context
    if options.tune:
        from ..tune import memory

        own = (options.rank, options.last_layers)
        need, most_of = memory.need, memory.longest
    totals = [need(model, place, n, *own).total for n in contexts]
    most = most_of(model, place, *own)
    return [
        f"{estimate.weights(model, place) / 1e9:.2f}",
        *(f"{total / 1e9:.2f}{' ' if total <= place.budget else '!'}" for total in totals),
        f"{most:,}" if most else "none",
    ]


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor, doctor_hosts, doctor_report

    if options.report and options.hosts is not None:
        raise not_understood("--report has no names, also none of hosts.", "Leave --hosts out.")
    found: list[doctor.Finding] = []

    def noted() -> Iterator[doctor.Finding]:
        hosts = None if options.hosts is None else doctor_hosts.chosen(options)
        for finding in doctor.findings() if hosts is None else doctor_hosts.findings(hosts):
            found.append(finding)
            yield finding

    if options.report:
        for line in doctor_report.lines(noted()):
            put(line)
    elif options.json:
        put(json.dumps([asdict(finding) for finding in noted()], ensure_ascii=False))
    else:
        for finding in noted():
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            put(f"{finding.level:8} {finding.name:12} {finding.said}{remedy}")
        levels = [finding.level for finding in found]
        inform(", ".join(counted(levels.count(one), one) for one in ("problem", "warning")) + ".")
    return int(any(finding.level == "problem" for finding in found))


FIT = Subcommand(
    "fit",
    "show which models fit into the memory",
    "Show which models fit into the memory, in which recipes of `gemma4 convert`, and with how "
    "long a conversation. Nothing is downloaded but, where needed, settings and headers.",
    _FIT_OPTIONS,
    _fit,
)
DOCTOR = Subcommand(
    "doctor",
    "check this computer",
    "Show what this computer has and lacks for running the model, and how to fix it. The exit "
    "status is 1 where there is a problem: something that a model cannot run without. What "
    "only some uses need, as a microphone, is a warning.",
    _DOCTOR_OPTIONS,
    _doctor,
)
