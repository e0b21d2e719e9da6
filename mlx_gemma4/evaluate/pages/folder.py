"""The user's own pictures: a folder with a manifest with the right answers.

`manifest.jsonl` has a line for each question, `answers.csv` a row under the heads:
`picture` (a file in the folder), `answer`, and where it is not all the text that is asked for
`question`; `height` is the print's x-height in pixels of the picture, where that is known.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Gemma4Error
from ...media.images import open_image
from ..question import Facts
from .page import LINES, TRANSCRIBE, VALUE, Page, Request

MANIFESTS = ("manifest.jsonl", "answers.csv")
_FORM = (
    'Each line of manifest.jsonl is like {"picture": "a.png", "question": "", "answer": "..."}; '
    "answers.csv has the heads picture,question,answer. No question asks for all the text."
)


@dataclass(frozen=True)
class Entry:
    """A picture and what is asked about it; `x_height` is in pixels, None where nobody said."""

    file: Path
    request: Request
    x_height: float | None

    def page(self) -> Page:
        """Open the picture; raises Gemma4Error where it cannot be read."""
        facts: Facts = {"file": self.file.name}
        return Page(open_image(self.file), (self.request,), self.x_height, "page", facts)


def read(folder: Path) -> Sequence[Entry]:
    """Read the manifest.

    Raises:
        Gemma4Error: there is no folder, no manifest, a line that cannot be used, or no picture.
    """
    if not folder.is_dir():
        raise _wrong(folder, f"There is no folder {folder}.", "Check the path.")
    found = [folder / name for name in MANIFESTS if (folder / name).is_file()]
    if not found:
        raise _wrong(folder, f"It has neither {' nor '.join(MANIFESTS)}.", _FORM)
    if len(found) > 1:
        raise _wrong(folder, f"It has both {' and '.join(MANIFESTS)}.", "Keep one of them.")
    entries = [_entry(folder, place, told) for place, told in _lines(found[0])]
    if not entries:
        raise _wrong(folder, f"{found[0].name} names no picture.", _FORM)
    return entries


def _lines(manifest: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each line holds, and its place."""
    try:
        text = manifest.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(manifest.parent, f"{manifest.name} is not UTF-8: {error}.", _FORM) from error
    if manifest.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        yield from ((f"{manifest.name}, line {rows.line_num}", row) for row in rows)
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


def _entry(folder: Path, place: str, told: Mapping[str, Any]) -> Entry:
    for name in ("picture", "answer"):
        if not isinstance(told.get(name), str) or not told[name].strip():
            raise _wrong(folder, f"{place} has no {name}.", _FORM)
    file = folder / told["picture"]
    question = told.get("question") or ""
    height = told.get("height") or None
    try:
        x_height = None if height is None else _positive(height)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(
            folder,
            f"{place}: the height {height} is no number above 0.",
            "Set pixels, or leave it out.",
        ) from None
    if not isinstance(question, str):
        raise _wrong(folder, f"{place}: the question is not text.", _FORM)
    if not file.is_file():
        raise _wrong(folder, f"{place}: there is no picture {file}.", "Check its name.")
    kind, text = (VALUE, question) if question.strip() else (LINES, TRANSCRIBE)
    return Entry(file, Request(kind, text, told["answer"].strip()), x_height)


def _positive(height: Any) -> float:
    number = float(height)
    if not 0 < number < math.inf:
        raise ValueError(height)
    return number


def _wrong(folder: Path, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error(
        "folder_unusable", f"The pictures of {folder.name} cannot be used", cause, remedy
    )
