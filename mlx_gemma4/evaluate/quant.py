"""What does each recipe cost: text, picture and sound apart?

The same questions, with the right answer behind them, go through a reference and through each
recipe: how far apart are their expectations (KL divergence), how often is the same token the
likeliest, how likely is the right answer (perplexity), and what do they answer by themselves.

An unquantized model alone is compared with itself in every recipe, quantized in memory one at a
time; further models are compared with the first, which may be any. What the first expected is kept
on the disk, so two are never in the memory at once. For the 12B that is 1 MB a row, some 2.5 GB for
the usual 64 items; on a laptop that reads 350 and writes 30 tokens a second, ten minutes a recipe.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checkpoint.recipes import RECIPES, named
from ..errors import Gemma4Error
from ..footprint import summary
from ..model.config import load_config
from . import quant_items, scores
from .logits import answered, distance
from .models import Model, ours
from .parts import Part
from .question import Choice, Item, Row, Subject
from .questions import NAMES
from .references import ROWS, References
from .reports import quant as told


class Quant:
    """Compares recipes with a reference."""

    name = "quant"
    about = NAMES["quant"]
    sets: Mapping[str, str] = quant_items.SETS
    needs = frozenset({"logits"})

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._references: References | None = None
        self._variant: Model | None = None

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List the same items for each recipe, as it is first."""
        model = ours(subject)
        self._free()
        reference = choice.models[0] if choice.models else model.name
        first = model if model.name == reference else Model(reference, model.force)
        self._references = References(first, choice.work)
        self._items = quant_items.items(choice, first)
        if model is not first:
            first.close()  # it was asked what it takes
        recipes = ["", *(_recipes(choice, model) if model is first else ())]
        return [replace(item, recipe=recipe) for recipe in recipes for item in self._items]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Compare one item's rows, and answer it."""
        references = self._references
        assert references is not None
        model = self._model(ours(subject), item.recipe)
        reads = model is references.reference
        # for itself the reference reads one item at a time, for others at once, and is then freed
        references.fill([item] if reads else self._items, [ours(subject), model])
        if not reads and references.reference.is_loaded:
            references.reference.close()
        asked = references.asked(item)
        found = answered(model.model, model.tokenizer, asked, ROWS)
        apart = distance(references.logs(item), found.logs)
        measured: dict[str, Any] = {
            "divergence": apart.divergence,
            "agreement": apart.agreement,
            "surprise": found.surprise,
            "rows": len(found.ids),
            "bytes": _nbytes(model.folder, item.recipe),
        }
        if asked.most:
            # what is the likeliest at every row would be said: most answers are, and reading one is
            # several times faster than drawing it
            whole = found.is_greedy and len(found.ids) < ROWS
            given = asked.wanted if whole else model.answer(asked)
            measured |= scores.score(asked.wanted, given)
        return measured

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Distances from the reference by medium, likelihoods and answers."""
        return told.report(rows)

    def _model(self, subject: Model, recipe: str) -> Model:
        """The subject in a recipe; no other is in the memory then."""
        held = self._variant
        if held is not None and recipe == held.recipe:
            return held
        self._free()
        if not recipe:
            return subject
        subject.close()
        self._variant = Model(subject.name, subject.force, recipe)
        return self._variant

    def _free(self) -> None:
        if self._variant is not None:
            self._variant.close()
        self._variant = None


def _recipes(choice: Choice, model: Model) -> list[str]:
    """The recipes beside the model as it is, which is what `bf16` gives."""
    if load_config(model.folder).quantization is None:
        alone = len(choice.models) < 2
        usual = [name for name in RECIPES if alone and name != "bf16"]
        return [name for name in choice.recipes or usual if named(name)]
    if choice.recipes:
        raise Gemma4Error(
            "already_quantized",
            "The model is quantized already",
            f"{model.name} is stored as {model.recipe}, and recipes are for unquantized ones.",
            "Leave --recipes out, or give the unquantized model first.",
        )
    return []


@functools.cache
def _nbytes(folder: Path, recipe: str) -> int:
    """Bytes of all tensors as a recipe stores them; "" is as they are."""
    found = summary.of_folder(folder)
    stored = found.converted(named(recipe)) if recipe else found.model
    return sum(tensor.nbytes for tensor in stored.tensors.values())


QUESTION = Quant()
