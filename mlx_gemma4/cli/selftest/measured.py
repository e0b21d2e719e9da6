"""Checks of what is measured: memory against what `gemma4 fit` predicts, and speeds.

A speed passes where a person would not wait: sound is read as fast as it is spoken, an answer
starts within a second of the end of speech and comes as fast as it is read.
"""

import functools
from collections.abc import Mapping

import mlx.core as mx

from ...evaluate import footprint
from ...evaluate.models import OurModel
from ..speed import Spoken, measure, noise
from .answers import endless
from .check import Outcome, judged

CONTEXT = 512  # tokens before what is measured
SOUND = 125  # frames: 5 s
LIMITS = {
    "first token after live sound": ("at most", 1.0, "s"),
    "live hearing": ("at least", 1.0, "times as fast as speech"),
    "prefill": ("at least", 25.0, "tokens a second"),  # as many as speech has frames
    "decode": ("at least", 5.0, "tokens a second"),  # a reader's pace
}
LARGE, NEAR, NEAR_SMALL = 10**9, 0.05, 0.15
"""How near memory must be to its prediction: of models above 1 GB, and of smaller ones."""
MEMORY_CONTEXT = 1024


def memory(subject: OurModel) -> Outcome:
    """Measure MLX's peaks in a process of its own, beside what `gemma4 fit` predicts."""
    if "Paravirtual" in str(mx.device_info().get("device_name")):
        return Outcome("not here", "a virtual machine's GPU does not count its memory")
    subject.close()
    found = footprint.measure(subject.folder, MEMORY_CONTEXT, None, subject.force)
    near = NEAR if found["load"] > LARGE else NEAR_SMALL
    steps = ("prefill", "decode")
    off = {step: found[f"predicted_{step}"] / found[step] - 1 for step in steps}
    peak = max(found[step] for step in steps)
    return judged(
        all(abs(one) <= near for one in off.values()),
        f"{peak / 1e9:.3f} GB; predicted "
        + ", ".join(f"{100 * off[step]:+.1f} % for {step}" for step in steps)
        + f" ({100 * near:.0f} % allowed)",
        peak_bytes=peak,
        **{f"{step}_off": one for step, one in off.items()},
    )


def speed(name: str, subject: OurModel) -> Outcome:
    """Judge a figure of LIMITS; all of them are measured together, once."""
    value = _measured(subject)[name]
    which, limit, unit = LIMITS[name]
    holds = value <= limit if which == "at most" else value >= limit
    return judged(holds, f"{value:.3g} {unit} ({which} {limit:g})", value=value)


@functools.lru_cache(1)
def _measured(subject: OurModel) -> Mapping[str, float]:
    known = [Spoken("first token after live sound", noise(SOUND))]
    with endless(subject):
        for _ in range(2):  # the first time warms up
            figures = {
                name: value
                for name, _, value in measure(subject.model, subject.tokenizer, CONTEXT, known)
            }
    return figures
