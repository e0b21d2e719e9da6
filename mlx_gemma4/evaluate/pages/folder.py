"""The user's own pictures: a folder with a manifest with the right answers.

`manifest.jsonl` has a line for each question, `answers.csv` a row under the heads:
`picture` (a file in the folder), `answer`, and `question` where not all the text is asked for;
`height` is the print's x-height in pixels of the picture, where that is known.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import Gemma4Error
from ...media.images import open_image
from .page import LINES, TRANSCRIBE, VALUE, Page, Request

MANIFESTS = ("manifest.jsonl", "answers.csv")
_FORM = (
    'Each line of manifest.jsonl is like {"picture": "a.png", "question": "", "answer": "..."}; '
    "answers.csv has the heads picture,question,answer. No question asks for all the text."
)


def read(folder: Path) -> Sequence[Callable[[], Page]]:
    """Read the manifest; each page opens its picture, or raises Gemma4Error where it cannot."""
    if not folder.is_dir():
        raise _wrong(folder, f"There is no folder {folder}.", "Check the path.")
    found = [folder / name for name in MANIFESTS if (folder / name).is_file()]
    if not found:
        raise _wrong(folder, f"It has neither {' nor '.join(MANIFESTS)}.", _FORM)
    if len(found) > 1:
        raise _wrong(folder, f"It has both {' and '.join(MANIFESTS)}.", "Keep one of them.")
    entries = [_entry(folder, place, entry) for place, entry in _lines(found[0])]
    if not entries:
        raise _wrong(folder, f"{found[0].name} names no picture.", _FORM)
    return entries


def _lines(manifest: Path) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the place of each line, and what it holds."""
    try:
        text = manifest.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(manifest.parent, f"{manifest.name} is not UTF-8: {error}.", _FORM) from error
    if manifest.suffix == ".csv":
        # spreadsheets write other separators where 1,5 is a number
        separator = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            yield from ((f"{manifest.name}, line {rows.line_num}", row) for row in rows)
        except csv.Error as error:
            cause = f"{manifest.name} is not CSV after line {rows.line_num}: {error}."
            raise _wrong(manifest.parent, cause, "Close every quote.") from error
        return
    for number, line in enumerate(text.split("\n"), 1):
        place = f"{manifest.name}, line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(manifest.parent, f"{place} is not JSON: {error}.", _FORM) from error
        if not isinstance(entry, dict):
            raise _wrong(manifest.parent, f"{place} is not an object.", _FORM)
        yield place, entry


def _entry(folder: Path, place: str, entry: Mapping[Any, Any]) -> Callable[[], Page]:
    if any(entry.get(None) or ()):  # an empty cell at the end is nothing
        raise _wrong(folder, f"{place} has more values than heads.", "Put commas in quotes.")
    for name in ("picture", "answer"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise _wrong(folder, f"{place} has no {name}.", _FORM)
    file = folder / entry["picture"]
    question = entry.get("question") or ""
    height = entry.get("height") or None
    try:
        x_height = None if height is None else float(height)
    except (TypeError, ValueError, OverflowError):
        x_height = math.nan
    if x_height is not None and not 0 < x_height < math.inf:
        cause = f"{place}: the height {height} is no number above 0."
        raise _wrong(folder, cause, "Set pixels, or leave it out.")
    if not isinstance(question, str):
        raise _wrong(folder, f"{place}: the question is not text.", _FORM)
    if not file.is_file():
        raise _wrong(folder, f"{place}: there is no picture {file}.", "Check its name.")
    kind, text = (VALUE, question) if question.strip() else (LINES, TRANSCRIBE)
    request = Request(kind, text, entry["answer"].strip())
    facts = {"file": file.name}
    return lambda: Page(open_image(file), (request,), x_height, "page", facts)


def _wrong(folder: Path, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error(
        "folder_unusable", f"The pictures of {folder.name} cannot be used", cause, remedy
    )
