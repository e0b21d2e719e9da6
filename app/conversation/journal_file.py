"""The lines of events.jsonl: read fast, whatever is in them, and brought up to date."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk
from mlx_gemma4.hub.conversations import EVENTS as EVENTS

from .entries import Entry, from_json

VERSION = 2
"""Format version. A later one is refused, an earlier one is brought up to date by `MIGRATIONS`."""

Line = dict[str, Any]


def _without_memory(lines: list[Line]) -> list[Line]:
    """Format 1 noted how far the worker had saved the conversation: now this file is all of it."""
    return [line for line in lines if line.get("is") != "remembered"]


MIGRATIONS: dict[int, Callable[[list[Line]], list[Line]]] = {1: _without_memory}
"""Version -> what makes the next version's lines of all its lines but the head."""


def read_lines(content: bytes, path: Path) -> tuple[Line, list[Line], int]:
    """Read whole lines; `path` is for errors.

    Returns:
        The head, empty where there is none; the other lines, as this version has them; and how many
        lines are no JSON objects.

    Raises:
        Gemma4Error: a later version of the program wrote it, or its version is invalid.
    """
    found, damaged = _objects(content.splitlines())
    head = found.pop(0) if found and "version" in found[0] else {}
    version = head.get("version", VERSION)
    if type(version) is not int or version > VERSION or version < 1:
        raise Gemma4Error(
            "conversation_unreadable",
            "The conversation cannot be opened",
            f"{path} has format {version!r}; this program knows 1 to {VERSION}: perhaps a later "
            "version of the program wrote it.",
            "Update the program: pip install --upgrade mlx-gemma4.",
        )
    for number in range(version, VERSION):
        found = MIGRATIONS[number](found)
    return head, found, damaged


def _objects(lines: list[bytes]) -> tuple[list[Line], int]:
    """Parse lines; all at once where that works, which is three times as fast."""
    try:
        values = json.loads(b"[" + b",".join(lines) + b"]")
        if len(values) != len(lines):
            raise ValueError("a line holds several values")
    except (ValueError, RecursionError):
        values = []
        for line in lines:
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError):
                values.append(None)
    objects = [value for value in values if isinstance(value, dict)]
    return objects, len(values) - len(objects)


def merged(lines: list[Line]) -> list[Line]:
    """Join pieces of text that follow each other in a turn."""
    together: list[Line] = []
    for key, group in groupby(lines, _piece):
        if key is None:
            together += group
        else:
            pieces = list(group)
            together.append({**pieces[0], "text": "".join(piece["text"] for piece in pieces)})
    return together


def _piece(line: Line) -> tuple[Any, ...] | None:
    """Return the key that the pieces of one text share; None for another line."""
    if line.get("is") == "said" and isinstance(line.get("text"), str):
        return (str(line.get("turn")), str(line.get("piece")), str(line.get("relayed")))
    return None


def parsed(lines: list[Line]) -> tuple[list[Entry], int]:
    """Make entries of lines; return them, and how many lines are no entries."""
    entries, damaged = [], 0
    for line in merged(lines):
        try:
            entries.append(from_json(line))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            damaged += 1
    return entries, damaged


def dumped(line: Mapping[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    # a path may have bytes that are no UTF-8: JSON has the same escapes for them
    return text.encode(errors="backslashreplace") + b"\n"


@contextmanager
def unwritable(
    folder: Path,
    code: str = "conversation_not_saved",
    title: str = "The conversation cannot be saved",
) -> Iterator[None]:
    """Turn an error of the disk into one that names the folder, and how much room there is."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            room = disk.free(folder)
            raise Gemma4Error(
                "disk_full",
                "The disk is full",
                f"{folder} takes no more: {room / 1e6:,.1f} MB are free there.",
                "Make room on it: until then what is said is shown, and not saved.",
                {"path": str(folder), "free_bytes": room},
            ) from error
        what = error.strerror or str(error)
        raise Gemma4Error(
            code,
            title,
            f"{error.filename or folder}: {what}.",
            "See whose the file is, and whether it may be written.",
            {"path": str(error.filename or folder)},
        ) from error
