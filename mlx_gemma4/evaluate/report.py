"""Writes a report: Markdown, with its plots as PNG files beside it."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .parts import Part, Plot, Table, Words
from .question import Question, Row
from .run import failures

REPORT = "report.md"
_COLOURS = ("#0f6e84", "#c2571a", "#5b4a9b", "#5f7a1f", "#a1285c", "#7a6a52")
_MARKS = "osD^vP"


def write(question: Question, rows: Sequence[Row], parts: Sequence[Part], folder: Path) -> Path:
    """Write report.md and its plots; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# {question.name}: {question.about}", "", *_about(rows), ""]
    for part in parts:
        lines += [*text(part), ""]
        if isinstance(part, Plot):
            draw(part, folder / f"{part.file}.png")
    if reasons := failures(rows):
        lines += ["## What could not be measured", "", *(f"- {reason}" for reason in reasons), ""]
    path = folder / REPORT
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def text(part: Part) -> list[str]:
    if isinstance(part, Words):
        heading = [f"## {part.heading}", ""] if part.heading else []
        return heading + ([part.text] if part.text else [])
    if isinstance(part, Plot):
        return [f"![{part.title}]({part.file}.png)"]
    return [*([f"**{part.title}**", ""] if part.title else []), *table(part)]


def table(part: Table) -> list[str]:
    """A table's lines, with columns as wide as their cells, so that it can be read as it is."""
    cells = [list(part.heads), *(list(row) for row in part.rows)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: list[str]) -> str:
        first, *rest = row
        right = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *right]) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if n == 0 else "-" * (width + 1) + ":" for n, width in enumerate(widths)
    )
    return [line(cells[0]), f"{rule}|", *map(line, cells[1:])]


def draw(plot: Plot, path: Path) -> None:
    """Draw a plot with matplotlib: a line each, intervals as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    for number, (name, points) in enumerate(plot.lines.items()):
        shown = sorted(points, key=lambda point: point[0])
        x, y = [x for x, _ in shown], [of.value for _, of in shown]
        bars = [[of.value - of.low for _, of in shown], [of.high - of.value for _, of in shown]]
        axes.errorbar(
            x, y, bars, label=name, color=_COLOURS[number % len(_COLOURS)], capsize=3,
            marker=_MARKS[number % len(_MARKS)], markersize=5, linewidth=1.5, elinewidth=1,
        )  # fmt: skip
    if plot.logarithmic:
        axes.set_xscale("log", base=2)
        places = sorted({x for points in plot.lines.values() for x, _ in points})
        axes.set_xticks(places if len(places) <= 10 else places[:: len(places) // 8])
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(_short))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    if plot.logarithmic_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(*((-0.03, 1.03) if plot.share else (min(0, axes.get_ylim()[0]), None)))
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(path)
    pyplot.close(figure)


def _short(value: float, _: Any = None) -> str:
    return f"{value / 1024:g}k" if value >= 1024 and value % 256 == 0 else f"{value:g}"


def _about(rows: Sequence[Row]) -> list[str]:
    """Lines on who was asked, on what machine, and when."""
    lines = ["| model | recipe | revision | items | versions |", "|---|---|---|--:|---|"]
    for model, recipe, revision in dict.fromkeys((r.model, r.recipe, r.revision) for r in rows):
        of = [r for r in rows if (r.model, r.recipe, r.revision) == (model, recipe, revision)]
        versions = ", ".join(f"{name} {number}" for name, number in of[0].versions.items())
        lines.append(f"| {model} | {recipe} | {revision} | {len(of)} | {versions} |")
    machines = "; ".join(dict.fromkeys(row.machine for row in rows))
    days = sorted({datetime.date.fromtimestamp(row.at).isoformat() for row in rows})
    when = f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days)
    return [*lines, "", f"On {machines}, {when}. Brackets are 95 % intervals."]
