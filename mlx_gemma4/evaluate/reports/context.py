"""What the question `context` tells: recall by length and depth, memory and speed by length."""

import re
from collections.abc import Sequence
from statistics import fmean

from .. import scores
from ..parts import Part, Plot, Point, Table, Words
from ..question import Row

_NAMES = {
    "text": "a sentence",
    "picture": "a sign",
    "sound": "spoken",
    "tiny-picture": "a receipt",
    "tiny-sound": "spoken digits",
}


def number(text: str) -> str:
    """An answer as it is compared: its digits, points and dashes, in one piece."""
    return "".join(re.findall(r"[\d.-]", text)).strip(".-")


def report(rows: Sequence[Row]) -> list[Part]:
    """Everything."""
    needles = [row for row in rows if row.facts["kind"] == "needle"]
    memory = [row for row in rows if row.facts["kind"] == "memory"]
    return [*(_recall(needles) if needles else ()), *(_memory(memory) if memory else ())]


def _recall(rows: Sequence[Row]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Recall",
            "Share of the numbers that are told rightly. Chance is the same answers, each beside "
            "another question of the same kind and length.",
        )
    ]
    heads = ["needle", "length", "tokens", "n", "recalled", "chance"]
    lines: list[list[str]] = []
    drawn: dict[str, list[Point]] = {}
    several = len(scores.subjects(rows)) > 1
    for subject in scores.subjects(rows):
        for (needle,), of in scores.groups(_of(rows, subject), "needle").items():
            name = f"{_NAMES[needle]}, {subject}" if several else _NAMES[needle]
            for (length,), some in scores.groups(of, "length").items():
                found = scores.accuracy(some)
                chance = scores.accuracy(scores.shuffled(some, number))
                tokens = fmean(row.measured["tokens"] for row in some)
                cells = [f"{length:,}", f"{tokens:,.0f}", str(found.n), f"{found}"]
                lines.append([name, *cells, f"{chance.value:.3f}"])
                point = Point(length, found.value, found.low, found.high)
                drawn.setdefault(name, []).append(point)
    parts.append(Table("", heads, lines))
    title = "Recall by length of the conversation"
    parts.append(
        Plot("recall", title, "tokens", "share recalled", drawn, logarithmic=True, share=True)
    )
    for subject in scores.subjects(rows):
        for (needle,), of in scores.groups(_of(rows, subject), "needle").items():
            who = f", {subject}" if several else ""
            parts.append(_depths(f"{_NAMES[needle].capitalize()}{who}: by length and depth", of))
    if several:
        if table := scores.differences(rows, "Recall, compared", lambda m: float(m["exact"])):
            parts.append(table)
    return parts


def _depths(title: str, rows: Sequence[Row]) -> Table:
    """Shares by length and depth, with how many there are of each where that is more than one."""
    depths = sorted({row.facts["depth"] for row in rows}, key=lambda depth: int(str(depth)))
    lines = []
    for (length,), of in scores.groups(rows, "length").items():
        by = scores.groups(of, "depth")
        cells = []
        for depth in depths:
            hits = [row.measured["exact"] for row in by.get((depth,), [])]
            cells.append(f"{sum(hits)}/{len(hits)}" if hits else "")
        lines.append([f"{length:,}", *cells])
    return Table(f"{title} (% of the way to the end)", ["tokens", *map(str, depths)], lines)


def _memory(rows: Sequence[Row]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Memory and speed",
            "GB of 10^9 bytes. The peak is the higher of MLX's while the prompt is read and while "
            "tokens are drawn; beside it what `gemma4 fit` predicts. Rows are the caches' buffers. "
            "Resident is the process's own peak, with Python and libraries. One measurement each, "
            "in a process of its own.",
        )
    ]
    heads = ["tokens", "rows", "predicted", "peak", "predicted", "off by", "resident",
             "prefill tok/s", "decode tok/s"]  # fmt: skip
    several = len(scores.subjects(rows)) > 1
    drawn: dict[str, list[Point]] = {}
    read: dict[str, list[Point]] = {}
    written: dict[str, list[Point]] = {}
    for subject in scores.subjects(rows):
        lines = []
        who = f", {subject}" if several else ""
        for row in _of(rows, subject):
            m, length = row.measured, int(str(row.facts["length"]))
            peak, said = max(m["prefill"], m["decode"]), predicted(row)
            sizes = (m["rows"], m["predicted_rows"], peak, said)
            cells = [f"{size / 1e9:.3f}" for size in sizes]
            cells += [f"{100 * (said / peak - 1):+.1f} %", f"{m['resident'] / 1e9:.3f}"]
            speeds = [f"{m[f'{what}_speed']:.1f}" for what in ("prefill", "decode")]
            lines.append([f"{length:,}", *cells, *speeds])
            for of, y in (("measured", peak), ("predicted", said)):
                drawn.setdefault(f"{of}{who}", []).append(_point(length, y / 1e9))
            read.setdefault(subject, []).append(_point(length, m["prefill_speed"]))
            written.setdefault(subject, []).append(_point(length, m["decode_speed"]))
        parts.append(Table(subject, heads, lines))
    x = "tokens of the conversation"
    return [
        *parts,
        Plot("memory", "Memory, measured and predicted", x, "GB", drawn, logarithmic=True),
        Plot("prefill", "Reading the prompt", x, "tokens a second", read, logarithmic=True),
        Plot("decode", "Writing after so many tokens", x, "tokens a second", written,
             logarithmic=True),
    ]  # fmt: skip


def predicted(row: Row) -> int:
    """Bytes of the peak, as they are predicted."""
    return int(max(row.measured["predicted_prefill"], row.measured["predicted_decode"]))


def _of(rows: Sequence[Row], subject: str) -> list[Row]:
    return [row for row in rows if row.subject == subject]


def _point(x: float, y: float) -> Point:
    return Point(x, y, y, y)
