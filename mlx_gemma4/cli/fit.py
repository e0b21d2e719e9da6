"""The commands about this computer, `gemma4 fit` and `gemma4 doctor`; both print on stdout."""

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..errors import counted
from . import hosting
from .options import Option, Subcommand, not_understood, out_of_range
from .streams import put, tell

if TYPE_CHECKING:
    from ..footprint.estimate import Machine
    from ..footprint.summary import Outline

USUAL = "google/gemma-4-12B-it"
CONTEXTS = (8192, 32768, 131072, 262144)
LENGTHS = (256, 512, 1024, 2048, 4096)
"""Of conversations that are learned."""

_FIT_OPTIONS = (
    Option(
        "models",
        f"a folder, a name of Package.toml, or owner/name on the Hub ({USUAL})",
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


def gigabytes(text: str) -> int:
    """Read a Mac's memory: 16GB, or 16.

    Raises:
        Gemma4Error: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+)\s*(GB|GiB|G)?\s*", text, re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise not_understood(f"--memory {text!r} is no size.", "Write it as --memory 16GB.")
    return int(found[1])


def _fit(options: argparse.Namespace) -> None:
    from ..footprint import device, estimate, summary

    for name in ("rank", "last_layers", "context"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise out_of_range(name, value, "1 or more")
    if options.machines:
        from .machines import markdown

        put(markdown())
        return
    if options.hosts is not None:
        if options.tune:
            raise not_understood("Training uses one computer.", "Leave out --hosts or --tune.")
        from .fit_hosts import report

        report(options, options.models or [USUAL], CONTEXTS, gigabytes)
        return
    hosting.chosen(options)  # an error where the others were given without --hosts
    place = device.this() if options.memory is None else estimate.mac(gigabytes(options.memory))
    put(f"{place.name}: {place.budget / 1e9:.2f} GB for a model ({place.rule})")
    for name in options.models or [USUAL]:
        found = summary.of(name)
        if options.drafter:
            found = replace(found, drafter=summary.of_drafter(options.drafter))
        put(f"\n{name}, known from {found.source}; {_what(options)}\n")
        for line in _table(found, place, options):
            put(line.rstrip())
    parts = (
        "weights, rows (KV), places to go back to, 20 screenshots and working memory at the peak"
    )
    if options.tune:
        parts = "weights, adapter, its gradients and Adam's averages, and a step at its peak"
    put(
        f"\nGB of 10^9 bytes: {parts}.\n! does not fit. "
        + ("" if options.tune else "Weights, rows and pictures are exact. ")
        + "Working memory is computed"
        + (
            ", and was measured on a CPU like this one."
            if place.backend == "cpu"
            else "; it was measured on a CPU only, not on this kind of machine."
        )
    )


def _what(options: argparse.Namespace) -> str:
    if options.tune:
        layers = f"the last {options.last_layers}" if options.last_layers else "all"
        return f"training an adapter of rank {options.rank} over {layers} layers"
    kv = "as computed" if options.kv_bits is None else f"in {options.kv_bits} bits"
    return f"rows of the full layers {kv}"


def _table(found: "Outline", place: "Machine", options: argparse.Namespace) -> list[str]:
    """The lines: a recipe each for a model that is not quantized, else the model as it is."""
    from ..checkpoint.recipes import RECIPES
    from ..footprint import estimate

    own: tuple[Any, ...] = (options.kv_bits,)
    need: Any = estimate.need
    most_of: Any = estimate.largest_context
    usual: tuple[int, ...] = CONTEXTS
    if options.tune:
        from ..tune import memory

        own = (options.rank, options.last_layers)
        need, most_of, usual = memory.need, memory.longest, LENGTHS
    longest = found.config.text_config.max_position_embeddings
    contexts = [n for n in usual if n <= longest] or [longest]
    if options.context is not None:
        contexts = [min(options.context, longest)]
    models = {"as it is": found.model}
    if found.config.quantization is None:
        models = {name: found.converted(recipe) for name, recipe in RECIPES.items()}
    heads = ["", "weights", *(f"{n:,} tokens" for n in contexts), "most tokens"]
    rows = [heads]
    for name, model in models.items():
        cells = [name, f"{estimate.weights(model, place) / 1e9:.2f}"]
        for n in contexts:
            total = need(model, place, n, *own).total
            cells.append(f"{total / 1e9:.2f}{' ' if total <= place.budget else '!'}")
        most = most_of(model, place, *own)
        rows.append([*cells, f"{most:,}" if most else "none"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        row[0].ljust(widths[0])
        + "".join(f"  {c.rjust(w)}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
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
        tell(", ".join(counted(levels.count(one), one) for one in ("problem", "warning")) + ".")
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
