"""The check that caches hold what one prefill of the whole conversation would hold."""

from __future__ import annotations

from ...evaluate.models import OurModel
from .check import Outcome, judged
from .schedules import failure, world

SCHEDULES = 200


def schedules(_: OurModel) -> Outcome:
    """Run random schedules on the small random model; their seeds are 0 to 199."""
    with world() as model:
        wrong = [seed for seed in range(SCHEDULES) if failure(model, seed) is not None]
    seen = f"{SCHEDULES} random schedules, {len(wrong)} failed"
    if wrong:
        seen += f": seeds {', '.join(map(str, wrong[:5]))}"
    return judged(not wrong, seen, failed=len(wrong))
