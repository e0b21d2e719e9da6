"""The conversations that the terminal program keeps, for whoever else reads them.

Each is a folder with events.jsonl, whose entries are `app/conversation/entries.py`, and its media.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import disk

EVENTS = "events.jsonl"


def folder() -> Path:
    return disk.own_data("conversations")


def entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of an events.jsonl; what is damaged or cut off is left out."""
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry
