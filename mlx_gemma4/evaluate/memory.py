"""How much memory do loading, reading and answering take?

Each combination of recipe, bits of the full layers' rows and length of the conversation is measured
in a process of its own, beside what `gemma4 fit` predicts. Recipes of an unquantized model are
converted into the run's folder first, and stay there. For the 12B in 4 bits the usual lengths are
about ten minutes on a laptop that reads 350 tokens a second; `long` adds 131,072.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint.recipes import named
from ..convert.convert import convert
from ..hub.sources import Folder
from ..model.config import load_config
from . import footprint, scores
from .models import OurModel, ours, quantized_already
from .parts import Part, Plot, Point, Table, Words
from .question import Choice, Fact, Item, Row, Subject
from .questions import NAMES

CONTEXTS, LONG = (1024, 8192, 32768), (131_072,)
SMALL, SMALL_RECIPES = (1024, 4096), ("8bit", "4bit")
KV_BITS = ("none", "8", "4")


class Memory:
    name = "memory"
    about = NAMES["memory"]
    sets: Mapping[str, str] = {"long": "also 131,072 tokens"}
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
            chosen = choice.recipes or (SMALL_RECIPES if choice.tiny else ())
            recipes += [name for name in chosen if named(name)]
        most = config.text_config.max_position_embeddings - footprint.AFTER
        lengths = SMALL if choice.tiny else CONTEXTS + (LONG if "long" in choice.sets else ())
        found = []
        for recipe in recipes:
            for bits in KV_BITS:
                for length in [n for n in lengths if n <= most][: choice.limit]:
                    facts: dict[str, Fact] = {"kv_bits": bits, "length": length}
                    found.append(Item(f"kv-{bits}-{length}", facts, recipe=recipe))
        return found

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        model = ours(subject)
        model.close()
        bits = item.facts["kv_bits"]
        kv_bits = None if bits == "none" else int(str(bits))
        length = int(str(item.facts["length"]))
        folder = self._folder(model, item.recipe)
        return footprint.measure(folder, length, kv_bits, model.force)

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        return report(rows)

    def _folder(self, model: OurModel, recipe: str) -> Path:
        """The model's folder, or that of its conversion; one that was cut off goes on."""
        if not recipe:
            return model.folder
        folder = self._work / recipe
        if not folder.is_dir():  # it gets its name when all is done
            convert(Folder(model.folder), folder, named(recipe))
        return folder


_STEPS = ("load", "prefill", "decode")


def report(rows: Sequence[Row]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Peaks",
            "GB of 10^9 bytes: MLX's peak in each step, and how far `gemma4 fit` is from it, which "
            "counts the weights alone as loading. Resident is the peak of the process, with Python "
            "and libraries. One measurement each, in a process of its own: no interval.",
        )
    ]
    heads = ["KV bits", "tokens", "rows"]
    for step in _STEPS:
        heads += [step, "fit"]
    for number, (subject, of) in enumerate(scores.by_subject(rows).items(), 1):
        lines, drawn = [], dict[str, list[Point]]()
        for row in of:
            m, length = row.measured, int(str(row.facts["length"]))
            cells = [str(row.facts["kv_bits"]), f"{length:,}", f"{m['rows'] / 1e9:.3f}"]
            for step in _STEPS:
                said = m[f"predicted_{step}"]
                cells += [f"{m[step] / 1e9:.3f}", f"{100 * (said / m[step] - 1):+.1f} %"]
            lines.append([*cells, f"{m['resident'] / 1e9:.3f}"])
            y = max(m["prefill"], m["decode"]) / 1e9
            name = {"none": "rows as computed"}.get(
                bits := str(row.facts["kv_bits"]), f"{bits} bits"
            )
            drawn.setdefault(name, []).append(Point(length, y, y, y))
        parts.append(Table(subject, [*heads, "resident"], lines))
        title, x = f"Peak memory, {subject}", "tokens of the conversation"
        parts.append(Plot(f"peak-{number}", title, x, "GB", drawn, logarithmic=True))
    return parts


QUESTION = Memory()
