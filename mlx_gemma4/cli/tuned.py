"""`gemma4 eval tuned`: what an adapter has changed, on the new task and on old ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..hub import installed_adapters
from . import options as shared
from .options import not_understood
from .streams import ProgressLine, inform, put
from .tune import read_lines

if TYPE_CHECKING:
    from ..evaluate.statistics import Difference, Estimate


def run(options: argparse.Namespace) -> None:
    """Compare a model with and without an adapter on files of held-out lines."""
    if not options.adapter or not options.data or len(options.model) > 1:
        raise not_understood(
            "It needs a model, an adapter, and held-out lines.",
            "Write gemma4 eval tuned --model MODEL --adapter NAME --data HELD.jsonl OLD.jsonl.",
        )
    name = options.model[0] if options.model else shared.model_of(argparse.Namespace(model=None))
    shared.without_adapter(name)
    from ..checkpoint import adapted, adapters
    from ..evaluate.statistics import paired, share
    from ..runtime.loading import load_noted
    from ..tune.comparison import right
    from ..tune.job import held_data

    adapter = adapters.read(installed_adapters.find(options.adapter))
    model, notes = load_noted(name, options.force)
    for note in notes:
        inform(note)
    show = ProgressLine()
    found = []
    for path in options.data:
        data = held_data(model, read_lines(path, name)[: options.limit])
        before = right(model, data, lambda done, of: show.step("Without the adapter", done, of))
        adapted.attach(model, adapter)
        after = right(model, data, lambda done, of: show.step("With the adapter", done, of))
        adapted.detach(model)
        found.append((Path(path).stem, share(before), share(after), paired(after, before)))
    put(f"{name}, without and with {options.adapter}: answers that are right to the letter\n")
    put("\n".join(table(found)))
    put(
        "\n[95 % interval]. Greedy decoding; the difference is paired, with its interval from "
        "lines drawn again."
    )


def table(rows: "list[tuple[str, Estimate, Estimate, Difference]]") -> list[str]:
    lines = ["| lines | n | without | with | difference |", "|---|--:|---|---|---|"]
    for name, before, after, change in rows:
        gap = change.estimate
        signed = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        lines.append(f"| {name} | {before.n} | {before:.3f} | {after:.3f} | {signed} |")
    return lines
