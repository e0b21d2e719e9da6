"""Asks a question, and writes the report: Markdown, with its plots as PNG files beside it.

Items are asked by subjects, and each result is on the disk before the next item starts: a run that
was killed goes on where it was.
"""

import datetime
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error
from . import surroundings
from .question import Choice, Item, Part, Plot, Question, Row, Subject, Table, Words

RESULTS = "results.jsonl"
REPORT = "report.md"
_COLOURS = ("#0f6e84", "#c2571a", "#5b4a9b", "#5f7a1f", "#a1285c", "#7a6a52")
_MARKS = "osD^vP"


def run(
    question: Question,
    subjects: Iterable[Subject],
    choice: Choice,
    folder: Path,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Row]:
    """Measure whatever has no result yet in the folder's results.jsonl.

    Args:
        progress: called before each item with what it is, its place among all, and their number.

    Returns:
        The results of all items and subjects, in their order; what failed is among them.

    Raises:
        Gemma4Error: no items can be made, or the folder holds results of another revision.
    """
    file = folder / RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    known = {(row.model, row.recipe, row.item): row for row in read(file) if not row.failed}
    machine = surroundings.machine()
    rows: list[Row] = []
    with file.open("a", encoding="utf-8") as results:
        for subject in subjects:
            listed = question.items(choice, subject)
            _check(known.values(), subject, file)
            # what was chosen twice is one item: twice, it would look like more evidence
            items = {(subject.name, of.recipe or subject.recipe, of.id): of for of in listed}
            found = {key: known[key] for key in items if key in known}
            for key, item in items.items():
                if key in found:
                    continue
                progress(f"{question.name}, {subject.name}, {item.id}", len(found), len(items))
                row = _measure(question, subject, item, machine)
                print(json.dumps(asdict(row)), file=results, flush=True)
                found[key] = row
            progress("", len(items), len(items))
            rows += [found[key] for key in items]
            subject.close()
    return rows


def read(file: Path) -> list[Row]:
    """Read results; a last line that a killed run left unfinished is cut off the file."""
    if not file.is_file():
        return []
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with file.open("r+b") as results:
            results.truncate(whole)
    try:
        return [Row(**json.loads(line)) for line in content[:whole].splitlines()]
    except (ValueError, TypeError, RecursionError) as error:
        raise Gemma4Error(
            "results_unusable",
            "The results are not usable",
            f"{file} has a line that `gemma4 eval` did not write: {error}.",
            "Choose another folder with --out, or remove that file.",
        ) from error


def _measure(question: Question, subject: Subject, item: Item, machine: str) -> Row:
    started = time.perf_counter()
    try:
        measured = dict(question.measure(subject, item))
    except Gemma4Error as error:
        measured = {"failed": f"{error.title}: {error.cause}"}
    seconds, recipe = round(time.perf_counter() - started, 4), item.recipe or subject.recipe
    about = (question.name, item.id, dict(item.facts), subject.name, recipe, subject.revision)
    return Row(*about, measured, seconds, round(time.time(), 1), dict(subject.versions), machine)


def _check(known: Iterable[Row], subject: Subject, file: Path) -> None:
    """Raise Gemma4Error where there are results of other weights under the same name."""
    for row in known:
        if row.model == subject.name and row.revision != subject.revision:
            raise Gemma4Error(
                "results_of_other_model",
                "The results are of other weights",
                f"{file} has those of {row.model} at {row.revision}, and it is at "
                f"{subject.revision} now.",
                "Choose another folder with --out, or remove that file. Version 0.2 identified "
                "the weights of folders in another way.",
            )


def failures(rows: Sequence[Row]) -> list[str]:
    """List what could not be measured: each reason once, with how often."""
    reasons = Counter(f"{row.subject}: {row.measured['failed']}" for row in rows if row.failed)
    return [f"{reason} ({count} items)" for reason, count in reasons.items()]


def write(title: str, rows: Sequence[Row], parts: Sequence[Part], folder: Path) -> Path:
    """Write report.md and its plots; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# {title}", "", *_about(rows), ""]
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
