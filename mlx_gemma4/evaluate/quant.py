"""What does each recipe cost: text, picture and sound apart?

The same questions, with the right answer behind them, go through a reference and through each
recipe: how far apart are their expectations (KL divergence), how often is the same token the
likeliest, how likely is the right answer (perplexity), and what do they answer by themselves.

An unquantized model alone is compared with itself in every recipe, quantized in memory one at a
time; further models are compared with the first, which may be any. What the first expected is kept
on the disk, so two are never in the memory at once.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..checkpoint.recipes import RECIPES, named
from ..footprint import summary
from ..model.config import load_config
from . import haystack, scores
from . import named as question
from .logits import ROWS, References, answered, distance
from .models import OurModel, ours, quantized_already
from .question import Asked, Choice, Item, Part, Plot, Row, Subject, Table, Words
from .statistics import Estimate, mean, ratio
from .tiny.tasks import drawn

SETS = ("tiny-text", "tiny-picture", "tiny-sound", "text", "facts", "picture", "sound")
SMALL, USUAL = 32, 16  # items of each set for the tiny model, and for others
_SHOWN = ("total", "tax", "date", "shop", "count", "lines")
_PASSAGE, _GOES_ON = 1200, 240  # characters
_GO_ON = "Go on with this text, word for word, from where it stops:\n\n"


class Quant:
    name = "quant"
    sets = SETS
    needs = frozenset({"logits"})

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._references: References | None = None
        self._held: OurModel | None = None

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List the same items for each recipe; the model as it is comes first."""
        model = ours(subject)
        reference = choice.models[0] if choice.models else model.name
        first = model if model.name == reference else OurModel(reference, model.force)
        self._hold(first)
        self._references = References(first, choice.work)
        self._items = items(choice, first)
        recipes = ["", *(_recipes(choice, model) if model is first else ())]
        return [replace(item, recipe=recipe) for recipe in recipes for item in self._items]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        references = self._references
        assert references is not None
        model = self._variant(ours(subject), item.recipe)
        # for itself the reference reads one item at a time, for others at once
        reads = model is references.reference
        if missing := references.missing([item] if reads else self._items):
            self._hold(references.reference)
            references.fill(missing)
        self._hold(model)
        asked, expected = references.read(item)
        found = answered(model.model, model.tokenizer, asked, ROWS)
        measured = {
            **distance(expected, found.logs),
            "surprise": found.surprise,
            "rows": len(found.ids),
            "bytes": _nbytes(model.folder, item.recipe),
        }
        if asked.most:
            # a right answer that is the likeliest at every row would be drawn: most are, and
            # reading one is several times faster than drawing it
            whole = found.is_greedy and len(found.ids) < ROWS
            given = asked.wanted if whole else model.answer(asked)
            measured |= scores.score(asked.wanted, given)
        return measured

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        written = [row for row in rows if "given" in row.measured]
        parts: list[Part] = [
            Words("How far from the first row", _METHOD),
            _table("KL divergence, 1/1000 nat", rows, lambda of: divergence(of, 1000), ".3f"),
            *_distances(rows),
            _table("Agreement on the likeliest token", rows, agreement, ".4f"),
            _table("Perplexity of the right answer", rows, perplexity, ".4f"),
            Words("What is answered", _ANSWERED),
            _table("Exactly right", written, scores.accuracy, ".3f"),
            _table("The same by chance", _mixed(written), scores.accuracy, ".3f"),
            _table("Character error rate", written, scores.character_error_rate, ".4f"),
            _table("Word error rate", written, scores.word_error_rate, ".4f"),
        ]
        if len(scores.by_subject(rows)) > 1:
            parts.append(_compared(rows, written))
        return parts

    def _variant(self, subject: OurModel, recipe: str) -> OurModel:
        """The subject in a recipe; empty for the subject as it is."""
        if not recipe:
            return subject
        held = self._held
        if held is not None and (held.name, held.recipe) == (subject.name, recipe):
            return held
        return OurModel(subject.name, subject.force, recipe)

    def _hold(self, model: OurModel) -> None:
        """Free the model that was held before: no two are in the memory at once."""
        if self._held is not None and self._held is not model:
            self._held.close()
        self._held = model


def _recipes(choice: Choice, model: OurModel) -> list[str]:
    """The recipes beside the model as it is, which is what `bf16` makes."""
    if load_config(model.folder).quantization is None:
        alone = len(choice.models) < 2
        usual = [name for name in RECIPES if alone and name != "bf16"]
        return [name for name in choice.recipes or usual if named(name)]
    if choice.recipes:
        raise quantized_already(model)
    return []


@cache
def _nbytes(folder: Path, recipe: str) -> int:
    """Bytes of all tensors as a recipe stores them; "" is as they are."""
    found = summary.of_folder(folder)
    stored = found.converted(named(recipe)) if recipe else found.model
    return sum(tensor.nbytes for tensor in stored.tensors.values())


def items(choice: Choice, subject: Subject) -> list[Item]:
    usual: tuple[str, ...] = ("tiny-text", "tiny-picture", "tiny-sound")
    if not choice.tiny:
        takes = {"image": "picture", "sound": "sound"}
        usual = ("text", "facts", *(name for of, name in takes.items() if of in subject.takes))
    found = []
    for name in choice.sets or usual:
        if name.startswith("tiny-"):
            found += tiny(name.removeprefix("tiny-"), choice.limit or SMALL, choice.seed)
        elif name in _WORDS:
            kind, make = _WORDS[name]
            facts = {"set": name, "medium": "text", "kind": kind}
            for number in range(choice.limit or USUAL):
                id_ = f"{name}-{choice.seed}-{number:04d}"
                found.append(Item(id_, facts, partial(make, id_)))
        else:
            found += _of_others(name, choice, subject)
    return found


def tiny(medium: str, count: int, seed: int) -> list[Item]:
    """Items of the small world, one of each kind in turn."""
    kinds = {"text": ("chat",), "picture": _SHOWN, "sound": ("digits", "commands")}[medium]
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        id_ = f"tiny-{medium}-{seed}-{number:04d}-{kind}"
        facts = {"set": f"tiny-{medium}", "medium": medium, "kind": kind}
        found.append(Item(id_, facts, partial(drawn, id_, kind)))
    return found


def _passage(id_: str) -> Asked:
    """How a passage of Python's documentation goes on.

    Nobody is asked to know that by heart, so only its likelihood counts.
    """
    text = haystack.text()
    at = random.Random(id_).randrange(len(text) - _PASSAGE - _GOES_ON)
    passage, rest = text[at : at + _PASSAGE], text[at + _PASSAGE :][:_GOES_ON]
    return Asked(rest, f"{_GO_ON}{passage}", most=0)


def _fact(id_: str) -> Asked:
    """A number somewhere in a passage."""
    rng = random.Random(id_)
    needle = haystack.needles(rng)[0]
    at = rng.randrange(len(haystack.text()) - _PASSAGE)
    passage = haystack.text()[at : at + _PASSAGE]
    words = passage.split(" ")
    place = rng.randrange(len(words))
    said = " ".join([*words[:place], needle.sentence, *words[place:]])
    return Asked(needle.number, f"{said}\n\n{needle.question}", most=16)


_WORDS = {"text": ("passage", _passage), "facts": ("fact", _fact)}


def _of_others(medium: str, choice: Choice, subject: Subject) -> list[Item]:
    """Items of another question, drawn from all of its kinds."""
    name = {"picture": "ocr", "sound": "speech"}[medium]
    count = choice.limit or USUAL
    own = replace(choice, sets=(), folder=None, tiny=False, limit=count)
    all_ = question(name).items(own, subject)
    chosen = random.Random(choice.seed).sample(list(all_), min(count, len(all_)))
    facts = {"set": medium, "medium": medium}
    return [replace(item, id=f"{name}-{item.id}", facts={**item.facts, **facts}) for item in chosen]


MEDIA = ("text", "picture", "sound")
_KL = "KL divergence from the first row, nats a token"
_METHOD = (
    "Every row saw the same conversations with the right answer behind them. KL divergence and "
    "agreement (the same token is the likeliest) are means over an answer's tokens, then over "
    "items. Perplexity is of the right answers."
)
_ANSWERED = "Greedy answers. Chance is the same answers, each beside another question."


def divergence(rows: Sequence[Row], unit: float = 1) -> Estimate:
    return mean([unit * row.measured["divergence"] for row in rows])


def agreement(rows: Sequence[Row]) -> Estimate:
    return mean([row.measured["agreement"] for row in rows])


def perplexity(rows: Sequence[Row]) -> Estimate:
    """The exponential of the mean negative log-likelihood of a token of the right answers."""
    found = ratio([r.measured["surprise"] for r in rows], [r.measured["rows"] for r in rows])
    value, low, high = (math.exp(x) for x in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n)


def _mixed(rows: Sequence[Row]) -> list[Row]:
    """Each answer beside another question of its medium and subject."""
    cells = [of for by_subject in _by_medium(rows).values() for of in by_subject.values()]
    return [row for of in cells for row in scores.shuffled(of)]


def _table(
    title: str, rows: Sequence[Row], figure: Callable[[Sequence[Row]], Estimate], form: str
) -> Table:
    media = _by_medium(rows)
    counts = [f"{medium} (n = {max(map(len, of.values()))})" for medium, of in media.items()]
    lines = []
    for subject, of in scores.by_subject(rows).items():
        found = [by_subject.get(subject, []) for by_subject in media.values()]
        cells = [format(figure(some), form) if some else "" for some in found]
        lines.append([subject, f"{_megabytes(of):,.2f}", *cells])
    return Table(title, ["", "MB", *counts], lines)


def _distances(rows: Sequence[Row]) -> list[Plot]:
    """Divergence over size, of those that have one: the first row itself is at 0."""
    drawn: dict[str, list[tuple[float, Estimate]]] = {}
    for medium, by_subject in _by_medium(rows).items():
        for of in by_subject.values():
            if (found := divergence(of)).low > 0:
                drawn.setdefault(medium, []).append((_megabytes(of), found))
    title = "What bits buy: each point a recipe"
    plot = Plot("divergence", title, "MB of weights", _KL, drawn, logarithmic_y=True)
    return [plot] if drawn else []


def _compared(rows: Sequence[Row], written: Sequence[Row]) -> Table:
    first, *others = scores.by_subject(rows)
    lines = []
    for other in others:
        surprise = scores.difference(
            rows, other, first, lambda m: m["surprise"] / m["rows"], "+.4f"
        )
        exact = scores.difference(written, other, first, lambda m: float(m["exact"]))
        lines.append([f"{other} - {first}", *(surprise or [""] * 3), *(exact or [""] * 3)])
    heads = ["pair", "n", "log-perplexity, nats a token", "p", "n", "exactly right", "p"]
    return Table("Item by item (p by permutation of signs)", heads, lines)


def _by_medium(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    found = scores.groups(rows, "medium")
    return {name: scores.by_subject(found[name,]) for name in MEDIA if (name,) in found}


def _megabytes(rows: Sequence[Row]) -> float:
    return float(rows[0].measured["bytes"]) / 1e6


QUESTION = Quant()
