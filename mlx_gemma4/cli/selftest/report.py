"""The report of a self-test: one JSON file for an issue, without text, media, names or paths."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...evaluate import surroundings
from ...hub import disk
from .processes import FinishedCheck

FORM = 1


def report(rows: Sequence[FinishedCheck], model: Mapping[str, str]) -> dict[str, Any]:
    """Gather what a developer needs to know.

    Args:
        model: its package of the shipped catalogue, recipe and revision; a user's own names and
            folders stay out of it.
    """
    return {
        "form": FORM,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": surroundings.machine(),
        "versions": surroundings.versions(),
        "model": dict(model),
        "rows": [
            {
                "name": row.name,
                "status": row.outcome.status,
                "code": row.outcome.code,
                "seconds": round(row.seconds, 2),
                "figures": {name: _number(value) for name, value in row.outcome.figures.items()},
            }
            for row in rows
        ],
    }


def write(content: Mapping[str, Any], file: Path) -> None:
    with disk.explained():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _number(value: float) -> float | str:
    """A number as JSON has it; NaN and infinities are words."""
    return round(value, 6) if abs(value) < float("inf") else str(value)
