"""Asks a question: items by subjects, each result on the disk before the next item starts.

A run that was killed goes on where it was: an item that has a result is not measured again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import Gemma4Error
from . import surroundings
from .question import Choice, Item, Question, Row, Subject

RESULTS = "results.jsonl"


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
            items = question.items(choice, subject)
            _check(known.values(), subject, file)
            keys = [(subject.name, item.recipe or subject.recipe, item.id) for item in items]
            found = {key: known[key] for key in keys if key in known}
            for item, key in zip(items, keys, strict=True):
                if key in found:
                    continue
                progress(f"{question.name}, {subject.name}, {item.id}", len(found), len(items))
                row = _measure(question, subject, item, machine)
                print(json.dumps(asdict(row)), file=results, flush=True)
                found[key] = row
            progress("", len(items), len(items))
            rows += [found[key] for key in keys]
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
                "Choose another folder with --out, or remove that file.",
            )


def failures(rows: Sequence[Row]) -> list[str]:
    """List what could not be measured: each reason once, with how often."""
    reasons = Counter(f"{row.subject}: {row.measured['failed']}" for row in rows if row.failed)
    return [f"{reason} ({count} items)" for reason, count in reasons.items()]
