"""What lines hold, and how far a run is, in words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx

from ..errors import counted
from .data import Data
from .sources import Line
from .train import TrainingStep

NOTES = 20
"""The most notes on media that are shown."""
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


def contents(sets: Mapping[str, Data]) -> list[str]:
    lines = [_held(name.replace("_", "-"), data) for name, data in sets.items()]
    notes = [note for data in sets.values() for note in data.notes]
    more = [f"... and {len(notes) - NOTES:,} more."] if len(notes) > NOTES else []
    return [*lines, *notes[:NOTES], *more]


def repeated(sets: Mapping[str, Sequence[Line]]) -> list[str]:
    """Name lines that a set has twice, and those to measure on that are learned from as well."""
    contents = {
        n: [json.dumps(one.content, sort_keys=True) for one in of] for n, of in sets.items()
    }
    result = []
    for name, texts in contents.items():
        if twice := len(texts) - len(set(texts)):
            result.append(f"{name.replace('_', '-')}: {counted(twice, 'repeated line')}.")
    learned = {text for name, texts in contents.items() if name != "held_out" for text in texts}
    if known := sum(text in learned for text in contents.get("held_out", ())):
        result.append(f"held-out: {counted(known, 'line')} learned from, too.")
    return result


def progress(step: TrainingStep, conversations: int, seconds: float) -> str:
    """Write how far a run is.

    Args:
        step: the last one.
        conversations: that were learned from since this call started.
        seconds: since then.
    """
    speed = conversations / seconds
    left = (step.steps - step.number) * step.conversations / speed
    held_out = "" if step.held_out is None else f", held-out {step.held_out:.3f}"
    return (
        f"step {step.number:,} of {step.steps:,}: loss {step.loss:.3f}{held_out}, "
        f"{speed:.1f} conversations/s, {step.peak_bytes / 1e9:.2f} GB, {_minutes(left)} left"
    )


def _held(name: str, data: Data) -> str:
    figures = data.figures
    out = f"; left out: {' '.join(data.left_out)}" * bool(data.left_out)
    lengths = sorted(one.tokens for one in figures)
    return (
        f"{name}: {counted(len(figures), 'conversation')}, {counted(sum(lengths), 'token')} "
        f"({lengths[0]:,} to {lengths[-1]:,}, half of them up to {lengths[len(lengths) // 2]:,}), "
        f"{sum(one.answer_tokens for one in figures):,} of them answers; "
        f"{counted(sum(one.pictures for one in figures), 'picture')}, "
        f"{sum(one.seconds for one in figures):,.0f} s of sound{out}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def slow_blas() -> str | None:
    """Name the faster BLAS where MLX multiplies with the reference one; None elsewhere."""
    maps = Path("/proc/self/maps")
    if mx.default_device() != mx.cpu or not maps.is_file():
        return None
    if "openblas" in maps.read_text("utf-8", "replace"):
        return None
    return (
        "MLX multiplies with the reference BLAS here, which is about ten times slower than "
        "OpenBLAS. Faster: apt install libopenblas0-pthread, then\n"
        f"  LD_PRELOAD={OPENBLAS} OPENBLAS_NUM_THREADS=1 gemma4 tune ..."
    )
