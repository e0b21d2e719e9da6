"""What the question `memory` tells: peaks of loading, reading and answering."""

from collections.abc import Sequence

from .. import scores
from ..parts import Part, Plot, Point, Table, Words
from ..question import Row

_STEPS = ("load", "prefill", "decode")


def report(rows: Sequence[Row]) -> list[Part]:
    """Everything."""
    parts: list[Part] = [
        Words(
            "Peaks",
            "GB of 10^9 bytes: MLX's peak in each step, and how far `gemma4 fit` is from it, which "
            "counts the weights alone as loading. Resident is the peak of the process, with Python "
            "and libraries. One measurement each, in a process of its own: no interval.",
        )
    ]
    heads = ["KV bits", "tokens", "rows"]
    for step in _STEPS:
        heads += [step, "fit"]
    for number, subject in enumerate(scores.subjects(rows), 1):
        lines, drawn = [], dict[str, list[Point]]()
        for row in (row for row in rows if row.subject == subject):
            m, length = row.measured, int(str(row.facts["length"]))
            cells = [str(row.facts["kv_bits"]), f"{length:,}", f"{m['rows'] / 1e9:.3f}"]
            for step in _STEPS:
                said = m[f"predicted_{step}"]
                cells += [f"{m[step] / 1e9:.3f}", f"{100 * (said / m[step] - 1):+.1f} %"]
            lines.append([*cells, f"{m['resident'] / 1e9:.3f}"])
            y = max(m["prefill"], m["decode"]) / 1e9
            name = {"none": "rows as computed"}.get(
                bits := str(row.facts["kv_bits"]), f"{bits} bits"
            )
            drawn.setdefault(name, []).append(Point(length, y, y, y))
        parts.append(Table(subject, [*heads, "resident"], lines))
        title, x = f"Peak memory, {subject}", "tokens of the conversation"
        parts.append(Plot(f"peak-{number}", title, x, "GB", drawn, logarithmic=True))
    return parts
