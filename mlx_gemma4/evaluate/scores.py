"""Scores of written answers: exact match, character and word errors, and what chance would score.

A row's `measured` holds `wanted` and `given`, and what `score` makes of them.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import jiwer

from .parts import Point, Table
from .question import Row
from .statistics import Estimate, paired, ratio, share

Normalize = Callable[[str], str]


def plain(text: str) -> str:
    """A text with each run of white space as one space."""
    return " ".join(text.split())


def score(wanted: str, given: str, normalize: Normalize = plain) -> dict[str, Any]:
    """Compare an answer with the right one; both are normalized first, and kept as they are.

    Returns:
        wanted, given; exact; edits over characters (character_edits, characters) and over words
        (word_edits, words).
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

    Where two right answers are the same, chance is right too; so it is for a model that always says
    the most common one.
    """
    places = list(range(len(rows)))
    random.Random(0).shuffle(places)
    turned = places[1:] + places[:1]  # nobody keeps his own
    given = {
        place: rows[other].measured["given"] for place, other in zip(places, turned, strict=True)
    }
    return [
        replace(row, measured=score(row.measured["wanted"], given[place], normalize))
        for place, row in enumerate(rows)
    ]


def point(x: float, found: Estimate) -> Point:
    """An estimate as a point of a plot."""
    return Point(x, found.value, found.low, found.high)


def groups(rows: Sequence[Row], *facts: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows that were measured, by what they have of these facts, in the order they came."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if not row.failed and all(fact in row.facts for fact in facts):
            found.setdefault(tuple(row.facts[fact] for fact in facts), []).append(row)
    return found


def subjects(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.subject for row in rows))


def differences(
    rows: Sequence[Row], title: str, figure: Callable[[Mapping[str, Any]], float]
) -> Table | None:
    """Compare each two subjects on the items that both were asked; None where there is one only."""
    by: dict[str, dict[str, float]] = {}
    for row in rows:
        if not row.failed:
            by.setdefault(row.subject, {})[row.item] = figure(row.measured)
    lines = []
    for one, other in combinations(by, 2):
        both = [item for item in by[one] if item in by[other]]
        if not both:
            continue
        found = paired([by[one][i] for i in both], [by[other][i] for i in both])
        p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
        lines.append([f"{one} - {other}", str(len(both)), f"{found.estimate:+.3f}", p])
    return (
        Table(title, ["pair", "items", "difference", "p (permutation)"], lines) if lines else None
    )


def _rate(rows: Sequence[Row], edits: str, length: str) -> Estimate:
    found = ratio([row.measured[edits] for row in rows], [row.measured[length] for row in rows])
    if found.value > 0:
        return found
    # drawn anew, no error stays no error: bounded as if an item were all right or all wrong
    return replace(found, high=share([False] * len(rows)).high)


def _edits(counted: Any) -> int:
    return int(counted.substitutions + counted.deletions + counted.insertions)
