"""Scores of written answers: exact match, character and word errors, and what chance would score.

A row's `measured` holds `wanted` and `given`, and what `score` makes of them.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import jiwer

from .question import Line, Row, Table
from .statistics import Estimate, paired, ratio, share

Normalize = Callable[[str], str]
Figure = Callable[[Mapping[str, Any]], float]
"""A number of what was measured of an item."""
PAIRS = ("pair", "items", "difference", "p (permutation)")


def plain(text: str) -> str:
    """A text with each run of white space as one space."""
    return " ".join(text.split())


def score(wanted: str, given: str, normalize: Normalize = plain) -> dict[str, Any]:
    """Compare an answer with the right one; both are normalized first, and kept as they are.

    Edits are counted over the characters and over the words of the right one.
    """
    right, said = normalize(wanted), normalize(given)
    characters, words = jiwer.process_characters(right, said), jiwer.process_words(right, said)
    return {
        "wanted": wanted,
        "given": given,
        "exact": right == said,
        "character_edits": _edits(characters),
        "characters": len(right),
        "word_edits": _edits(words),
        "words": len(right.split()),
    }


def accuracy(rows: Sequence[Row]) -> Estimate:
    return share([row.measured["exact"] for row in rows])


def character_error_rate(rows: Sequence[Row]) -> Estimate:
    return _rate(rows, "character_edits", "characters")


def word_error_rate(rows: Sequence[Row]) -> Estimate:
    return _rate(rows, "word_edits", "words")


def shuffled(rows: Sequence[Row], normalize: Normalize = plain) -> list[Row]:
    """The same answers, each beside the right answer of another item: what chance would score.

    Where two right answers are the same, chance is right too; so it is for a model that always
    answers the most common one. A single answer has no other one: nothing is returned for it.
    """
    if len(rows) < 2:
        return []
    places = list(range(len(rows)))
    random.Random(0).shuffle(places)
    turned = places[1:] + places[:1]  # nobody keeps his own
    mixed = list(rows)
    for place, other in zip(places, turned, strict=True):
        found = score(rows[place].measured["wanted"], rows[other].measured["given"], normalize)
        mixed[place] = replace(rows[place], measured={**rows[place].measured, **found})
    return mixed


def curve(rows: Sequence[Row], fact: str, figure: Callable[[list[Row]], Estimate]) -> Line:
    """A line of a plot: a figure over a fact of the rows."""
    return [(float(x), figure(of)) for (x,), of in groups(rows, fact).items()]


def single(rows: Sequence[Row], fact: str, figure: Figure) -> Line:
    """A line of single measurements, which have no interval."""
    values = [(float(row.facts[fact]), figure(row.measured)) for row in rows]
    return [(x, Estimate(y, y, y, 1)) for x, y in values]


def groups(rows: Sequence[Row], *facts: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows that were measured, by what they have of these facts, in the order they came."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if not row.failed and all(fact in row.facts for fact in facts):
            found.setdefault(tuple(row.facts[fact] for fact in facts), []).append(row)
    return found


def by_subject(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each subject, by name, in the order in which they were asked."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.subject, []).append(row)
    return found


def shared(rows: Sequence[Row]) -> list[Row]:
    """The rows on items that every subject of these rows was asked."""
    items = [{row.item for row in of} for of in by_subject(rows).values()]
    common = set.intersection(*items)
    return [row for row in rows if row.item in common]


def differences(rows: Sequence[Row], title: str, figure: Figure, *facts: str) -> Table | None:
    """Compare each two subjects on the items that both were asked, by facts; None for one alone."""
    lines = []
    for values, group in groups(rows, *facts).items():
        for one, other in combinations(by_subject(group), 2):
            if cells := difference(group, one, other, figure):
                lines.append([*map(str, values), f"{one} - {other}", *cells])
    return Table(title, [*facts, *PAIRS], lines) if lines else None


def difference(
    rows: Sequence[Row], one: str, other: str, figure: Figure, form: str = "+.3f"
) -> list[str]:
    """Cells with the number of items that both were asked, the mean difference, and p; or none."""
    mine, theirs = (
        {r.item: figure(r.measured) for r in rows if r.subject == who and not r.failed}
        for who in (one, other)
    )
    both = [item for item in mine if item in theirs]
    if not both:
        return []
    found = paired([mine[i] for i in both], [theirs[i] for i in both])
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    return [str(len(both)), f"{found.estimate:{form}}", p]


def _rate(rows: Sequence[Row], edits: str, length: str) -> Estimate:
    found = ratio([row.measured[edits] for row in rows], [row.measured[length] for row in rows])
    if found.value > 0:
        return found
    # drawn again, no error stays no error: bounded as if an item were all right or all wrong
    return replace(found, high=share([False] * len(rows)).high)


def _edits(counted: Any) -> int:
    return int(counted.substitutions + counted.deletions + counted.insertions)
