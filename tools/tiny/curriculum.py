"""What is practised when: shares of the tasks and width of the world by fraction of the run."""

from dataclasses import dataclass

from mlx_gemma4.evaluate.tiny.tasks import World


@dataclass(frozen=True)
class Stage:
    """From `start` (fraction of the run) on: which tasks, with which shares, in which world."""

    start: float
    shares: dict[str, float]
    world: World


STAGES = (
    Stage(
        0.0,
        {"word": 0.4, "strip": 0.1, "receipt": 0.15, "digits": 0.2, "commands": 0.12, "chat": 0.03},
        World(digits=3, shift=4.0, rows=3),
    ),
    Stage(
        0.16,
        {
            "word": 0.1,
            "strip": 0.3,
            "receipt": 0.27,
            "digits": 0.15,
            "commands": 0.15,
            "chat": 0.03,
        },
        World(budgets=(70, 70, 140), shift=4.0, rows=4),
    ),
    Stage(
        0.3,
        {
            "strip": 0.2,
            "receipt": 0.25,
            "mixed": 0.23,
            "later": 0.08,
            "digits": 0.12,
            "commands": 0.1,
            "chat": 0.02,
        },
        World(
            budgets=(70, 70, 140),
            shift=6.0,
            colour=0.2,
            anywhere=0.2,
            sizes=((288, 480), (288, 480), (288, 480), (336, 480), (288, 384)),
        ),
    ),
    Stage(
        0.42,
        {
            "strip": 0.2,
            "receipt": 0.3,
            "mixed": 0.24,
            "later": 0.1,
            "digits": 0.1,
            "commands": 0.05,
            "chat": 0.01,
        },
        World(
            budgets=(70, 140),
            shift=4.0,
            colour=0.05,
            anywhere=0.05,
            sizes=(*((288, 480),) * 9, (336, 480)),
        ),
    ),
    Stage(
        0.66,
        {
            "word": 0.05,
            "strip": 0.25,
            "receipt": 0.3,
            "mixed": 0.22,
            "later": 0.08,
            "digits": 0.06,
            "commands": 0.03,
            "chat": 0.01,
        },
        World(budgets=(70, 140), shift=4.0, colour=0.03, anywhere=0.03, shop=3.0),
    ),
    Stage(
        0.85,
        {
            "strip": 0.22,
            "receipt": 0.27,
            "mixed": 0.2,
            "later": 0.08,
            "digits": 0.05,
            "commands": 0.17,
            "chat": 0.01,
        },
        World(budgets=(70, 140), colour=0.03, anywhere=0.03, shop=3.0, shift=4.0, jumble=0.6),
    ),
)


def stage_at(fraction: float) -> Stage:
    """The stage in force at a fraction of the run."""
    return [stage for stage in STAGES if stage.start <= fraction][-1]


def learning_rate(fraction: float, step: int, peak: float) -> float:
    """Sixty steps of warm-up, held for half of the run, then a straight line to 2 % of the peak."""
    warm = min(1.0, (step + 1) / 60)
    return peak * warm * min(1.0, max(0.02, (1.0 - fraction) / 0.5))
