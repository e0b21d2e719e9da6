"""What is practised when: shares of the tasks and width of the world by fraction of the run."""

from dataclasses import dataclass, replace

from mlx_gemma4.evaluate.tiny.tasks import World

from .prints import Prints
from .scenes import Width
from .sounds import PLAIN, Channel
from .voices import ESPEAK, FLITE

BUDGETS = (70, 140)


@dataclass(frozen=True)
class Stage:
    """From `start` (fraction of the run) on: which tasks, with which shares, in which world."""

    start: float
    shares: dict[str, float]
    world: World
    width: Width


FIRST = Width(wordings=0.3, wide=0.0, old=1.0, channel=PLAIN)
_WORLD = World(budgets=BUDGETS, shift=4.0, jumble=0.2, shop=2.0)
_ALL = {
    "receipt": 0.2, "page": 0.1, "strip": 0.05, "dialog": 0.07, "table": 0.05, "two": 0.04,
    "unreadable": 0.02, "later": 0.05, "mixed": 0.15, "digits": 0.07, "commands": 0.1,
    "nobody": 0.02, "tool": 0.03, "chat": 0.04, "afterwards": 0.04,
}  # fmt: skip
SCRATCH = (
    Stage(
        0.0,
        {"word": 0.4, "strip": 0.1, "receipt": 0.15, "digits": 0.2, "commands": 0.12, "chat": 0.03},
        replace(_WORLD, digits=3, rows=3, budgets=(70,)),
        FIRST,
    ),
    Stage(
        0.08,
        {
            "word": 0.05,
            "strip": 0.2,
            "page": 0.1,
            "receipt": 0.25,
            "mixed": 0.1,
            "digits": 0.1,
            "commands": 0.15,
            "chat": 0.05,
        },
        replace(_WORLD, rows=4),
        Width(0.5, 0.2, 0.7, Channel((0.5, 0.3), 0.3)),
    ),  # fmt: skip
    Stage(0.2, _ALL, _WORLD, Width(0.7, 0.5, 0.4)),
    Stage(0.4, _ALL, _WORLD, Width(0.7, 0.8, 0.3)),
    Stage(0.6, _ALL, _WORLD, Width(0.7, 1.0, 0.25)),
)
"""From random weights."""
_FIRST_VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-rp+f2")
_PRINTS = Prints(font=0.3, room=0.25, turn=0.15, order=0.2, date=0.2)
WIDEN = (
    Stage(
        0.0,
        {
            "receipt": 0.34, "mixed": 0.13, "later": 0.04, "strip": 0.05, "two": 0.03,
            "unreadable": 0.01, "dialog": 0.07, "digits": 0.06, "commands": 0.14, "nobody": 0.03,
            "tool": 0.03, "chat": 0.05, "afterwards": 0.02,
        },
        replace(_WORLD, colour=0.3, absent=0.3),
        Width(0.55, 0.0, 1.0, Channel((0.8, 1.3), 0.5, echo=0.0, narrow=0.05),
              (*_FIRST_VOICES * 3, *ESPEAK, *FLITE), prints=_PRINTS),
    ),
)  # fmt: skip
"""From the weights of the first world, where there is little time."""
PLANS = {"scratch": SCRATCH, "widen": WIDEN}


def stage_at(plan: tuple[Stage, ...], fraction: float) -> Stage:
    """The stage in force at a fraction of the run."""
    return [stage for stage in plan if stage.start <= fraction][-1]


def learning_rate(fraction: float, step: int, peak: float) -> float:
    """Sixty steps of warm-up, held for 40 % of the run, then a straight line to 2 % of the peak."""
    warm = min(1.0, (step + 1) / 60)
    return peak * warm * min(1.0, max(0.02, (1.0 - fraction) / 0.6))
