"""What the question `quant` tells: how far each recipe is from the reference, by medium."""

import math
from collections.abc import Callable, Sequence

from .. import scores
from ..parts import Part, Plot, Point, Table, Words
from ..question import Row
from ..statistics import Estimate, mean, paired, ratio

MEDIA = ("text", "picture", "sound")
_KL = "KL divergence from the first row, nats a token"
Figure = Callable[[Sequence[Row]], Estimate]


def report(rows: Sequence[Row]) -> list[Part]:
    """Everything."""
    written = [row for row in rows if "given" in row.measured]
    parts: list[Part] = [
        Words(
            "How far from the first row",
            "Every row saw the same conversations with the right answer behind them. KL divergence "
            "and agreement (the same token is the likeliest) are means over an answer's tokens, "
            "then over items. Perplexity is of the right answers.",
        ),
        _table("KL divergence, 1/1000 nat", rows, lambda of: divergence(of, 1000), ".3f"),
        *_distances(rows),
        _table("Agreement on the likeliest token", rows, agreement, ".4f"),
        _table("Perplexity of the right answer", rows, perplexity, ".4f"),
        Words(
            "What is answered",
            "Greedy answers. Chance is the same answers, each beside another question.",
        ),
        _table("Exactly right", written, scores.accuracy, ".3f"),
        _table("The same by chance", written, _chance, ".3f"),
        _table("Character error rate", written, scores.character_error_rate, ".4f"),
        _table("Word error rate", written, scores.word_error_rate, ".4f"),
    ]
    if len(scores.subjects(rows)) > 1:
        parts.append(_compared(rows, written))
    return parts


def divergence(rows: Sequence[Row], unit: float = 1) -> Estimate:
    """The mean KL divergence, in nats over `unit`."""
    return mean([unit * row.measured["divergence"] for row in rows])


def agreement(rows: Sequence[Row]) -> Estimate:
    """The mean share of tokens on which both agree."""
    return mean([row.measured["agreement"] for row in rows])


def perplexity(rows: Sequence[Row]) -> Estimate:
    """The exponential of the mean negative log-likelihood of a token of the right answers."""
    found = ratio([r.measured["surprise"] for r in rows], [r.measured["rows"] for r in rows])
    value, low, high = (math.exp(x) for x in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n)


def media(rows: Sequence[Row]) -> list[str]:
    """The media that were asked about, in order."""
    return [medium for medium in MEDIA if any(row.facts["medium"] == medium for row in rows)]


def _chance(rows: Sequence[Row]) -> Estimate:
    return scores.accuracy(scores.shuffled(rows))


def _table(title: str, rows: Sequence[Row], figure: Figure, form: str) -> Table:
    """A figure of each subject for each medium."""
    asked = media(rows)
    counts = {m: max(len(_of(rows, s, m)) for s in scores.subjects(rows)) for m in asked}
    heads = ["", "MB", *(f"{medium} (n = {counts[medium]})" for medium in asked)]
    lines = []
    for subject in scores.subjects(rows):
        cells = []
        for medium in asked:
            of = _of(rows, subject, medium)
            cells.append(format(figure(of), form) if of else "")
        lines.append([subject, f"{_megabytes(rows, subject):,.2f}", *cells])
    return Table(title, heads, lines)


def _distances(rows: Sequence[Row]) -> list[Plot]:
    """Divergence over size, of those that have one: the first row itself lies at 0."""
    drawn: dict[str, list[Point]] = {}
    for medium in media(rows):
        for subject in scores.subjects(rows):
            of = _of(rows, subject, medium)
            if of and (found := divergence(of)).low > 0:
                point = Point(_megabytes(rows, subject), found.value, found.low, found.high)
                drawn.setdefault(medium, []).append(point)
    title = "What bits buy: each point a recipe"
    plot = Plot("divergence", title, "MB of weights", _KL, drawn, logarithmic_y=True)
    return [plot] if drawn else []


def _compared(rows: Sequence[Row], written: Sequence[Row]) -> Table:
    """Each subject less the first, item by item."""
    first, *others = scores.subjects(rows)
    lines = []
    for other in others:
        cells = [f"{other} - {first}"]
        for of, figure, form in (
            (rows, lambda m: m["surprise"] / m["rows"], "+.4f"),
            (written, lambda m: float(m["exact"]), "+.3f"),
        ):
            by = [
                {row.item: figure(row.measured) for row in of if row.subject == who}
                for who in (other, first)
            ]
            both = [item for item in by[0] if item in by[1]]
            if not both:
                cells += ["", "", ""]
                continue
            found = paired([by[0][i] for i in both], [by[1][i] for i in both])
            p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
            cells += [str(len(both)), f"{found.estimate:{form}}", p]
        lines.append(cells)
    heads = ["pair", "n", "log-perplexity, nats a token", "p", "n", "exactly right", "p"]
    return Table("Item by item (p by permutation of signs)", heads, lines)


def _of(rows: Sequence[Row], subject: str, medium: str) -> list[Row]:
    return [row for row in rows if (row.subject, row.facts["medium"]) == (subject, medium)]


def _megabytes(rows: Sequence[Row], subject: str) -> float:
    size = next(row.measured["bytes"] for row in rows if row.subject == subject)
    return float(size) / 1e6
