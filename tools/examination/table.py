"""The results as a table: shares with Wilson intervals, differences paired item by item."""

from collections.abc import Mapping, Sequence

import numpy as np

from mlx_gemma4.evaluate.statistics import Estimate, paired, share

from .ask import Result
from .item import Row

Results = Mapping[tuple[str, str], Sequence[Result]]
"""By precision and name of the row."""


def table(rows: Sequence[Row], results: Results, precisions: Sequence[str]) -> list[str]:
    """Lines of Markdown."""
    heads = ["held-out items", "n", *precisions, "target"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        found = [results.get((precision, row.name), []) for precision in precisions]
        if not found[0]:
            continue
        cells = [_cell(row, found[0])]
        for other in found[1:]:
            gap = _gap(other, found[0]) if other else ""
            cells.append(f"{_cell(row, other)}, less full {gap}" if other else "")
        beside = results.get((precisions[0], row.beside))
        if beside:
            cells[0] += f", paired {_gap(found[0], beside)}"
        cells.append(_target(row, found[0], beside))
        lines.append(f"| {row.name} | {len(found[0])} | " + " | ".join(cells) + " |")
    return lines


def reached(row: Row, found: Sequence[Result], beside: Sequence[Result] | None) -> bool | None:
    """Whether a row reaches its target; None where it has none."""
    if row.target is None:
        return None
    if row.beside:
        assert beside
        gap = _difference(found, beside)
        return gap.low <= 0 <= gap.high or gap.low > row.target
    value = share([r.right != row.invention for r in found]).value
    return value <= row.target if row.invention else value >= row.target


def _cell(row: Row, found: Sequence[Result]) -> str:
    cell = f"{share([r.right != row.invention for r in found])}"
    if row.errors:
        name = {"characters": "CER", "words": "WER"}[row.errors]
        length = sum(r.length for r in found)
        cell += f", {name} {sum(r.edits for r in found) / max(1, length):.1%}"
    return cell


def _difference(ours: Sequence[Result], theirs: Sequence[Result]) -> Estimate:
    count = min(len(ours), len(theirs))
    hits = [np.array([r.right for r in some[:count]], float) for some in (ours, theirs)]
    return paired(*hits).estimate


def _gap(ours: Sequence[Result], theirs: Sequence[Result]) -> str:
    return f"{_difference(ours, theirs):+.3f}"


def _target(row: Row, found: Sequence[Result], beside: Sequence[Result] | None) -> str:
    if row.target is None:
        return ""
    if row.beside:
        form = "includes 0"
    else:
        form = f"{'at most' if row.invention else 'at least'} {abs(row.target):.2f}"
    return form if reached(row, found, beside) else f"**missed:** {form}"
