"""How much memory do loading, reading and answering take?

Each combination of recipe, bits of the full layers' rows and length of the conversation is measured
in a process of its own, beside what `gemma4 fit` predicts. Recipes of an unquantized model are
converted into the run's folder first, and stay there. For the 12B in 4 bits the usual lengths take
about ten minutes on a laptop that reads 350 tokens a second; `long` adds 131,072.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ..checkpoint.recipes import named
from ..convert.convert import convert
from ..hub.sources import Folder
from ..model.config import load_config
from . import footprint, scores
from .models import ours, quantized_already
from .question import Choice, Item, Part, Plot, Row, Subject, Table, Words

CONTEXTS, LONG = (1024, 8192, 32768), (131_072,)
SMALL, SMALL_RECIPES = (1024, 4096), ("8bit", "4bit")
KV_BITS = ("none", "8", "4")


class Memory:
    name = "memory"
    sets = ("long",)
    needs = frozenset({"cache"})

    def __init__(self) -> None:
        self._work = Path()

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        model = ours(subject)
        self._work = choice.work / "recipes" / model.revision
        config = load_config(model.folder)
        if config.quantization is not None and choice.recipes and len(choice.models) < 2:
            raise quantized_already(model)
        recipes = [""]
        if config.quantization is None:
            usual = SMALL_RECIPES if choice.tiny else ()
            recipes += [name for name in choice.recipes or usual if named(name)]
        most = config.text_config.max_position_embeddings - footprint.AFTER
        lengths = SMALL if choice.tiny else CONTEXTS + (LONG if "long" in choice.sets else ())
        chosen = [length for length in lengths if length <= most][: choice.limit]
        return [
            Item(f"kv-{bits}-{length}", {"kv_bits": bits, "length": length}, recipe=recipe)
            for recipe, bits, length in product(recipes, KV_BITS, chosen)
        ]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        model = ours(subject)
        model.close()
        bits = item.facts["kv_bits"]
        kv_bits = None if bits == "none" else int(bits)
        folder = self._work / item.recipe if item.recipe else model.folder
        if not folder.is_dir():  # a conversion has its name only when it is complete
            convert(Folder(model.folder), folder, named(item.recipe))
        return footprint.measure(folder, item.facts["length"], kv_bits, model.force)

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        parts: list[Part] = [Words("Peaks", _METHOD)]
        x = "tokens of the conversation"
        for number, (subject, of) in enumerate(scores.by_subject(rows).items(), 1):
            drawn = {}
            for (bits,), some in scores.groups(of, "kv_bits").items():
                name = "rows as computed" if bits == "none" else f"{bits} bits"
                drawn[name] = scores.single(some, "length", footprint.peak)
            title = f"Peak memory, {subject}"
            plot = Plot(f"peak-{number}", title, x, "GB", drawn, logarithmic=True)
            parts += [_table(subject, of), plot]
        return parts


_STEPS = ("load", "prefill", "decode")
_METHOD = (
    "GB of 10^9 bytes: MLX's peak in each step, and how far `gemma4 fit` is from it, which "
    "counts the weights alone as loading. Resident is the peak of the process, with Python "
    "and libraries. One measurement each, in a process of its own: no interval."
)


def _table(subject: str, rows: Sequence[Row]) -> Table:
    heads = ["KV bits", "tokens", "rows"]
    for step in _STEPS:
        heads += [step, "fit"]
    lines = []
    for row in rows:
        m, bits, length = row.measured, row.facts["kv_bits"], row.facts["length"]
        cells = [bits, f"{length:,}", f"{m['rows'] / 1e9:.3f}"]
        for step in _STEPS:
            off = m[f"predicted_{step}"] / m[step] - 1
            cells += [f"{m[step] / 1e9:.3f}", f"{100 * off:+.1f} %"]
        lines.append([*cells, f"{m['resident'] / 1e9:.3f}"])
    return Table(subject, [*heads, "resident"], lines)


QUESTION = Memory()
