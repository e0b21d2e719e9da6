"""Which conversations each step learns from, and how fast: functions of the settings alone.

Nothing of this is stored: a run that is resumed computes it again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from ..checkpoint.adapters import Kind
from ..errors import Gemma4Error

WARM_STEPS = 10
LEAST_RATE = 0.05  # of the rate, at the end
LEAST_CONVERSATIONS = 600
"""A small set is passed through again until so many were seen, unless steps or epochs are set."""

MOST_CONVERSATIONS = 2_000_000
"""Of a run: every step's are listed before the first one."""

Pick = tuple[Literal["data", "replay", "held_out"], int]
"""A line: of which set, and its number there."""


@dataclass(frozen=True)
class TuneSettings:
    """How a model is trained; what `--resume` compares.

    Attributes:
        rate: of Adam, at its highest.
        steps: how many there are; None for `epochs`.
        epochs: passes over the data; None for one, or as many as LEAST_CONVERSATIONS take.
        batch: conversations a step.
        batch_tokens: at most so many tokens a step instead; one conversation at the least.
        replay_share: of the conversations that are replay, where there is any.
    """

    rate: float
    rank: int = 8
    scale: float = 2.0
    kind: Kind = "lora"
    embedders: bool = False
    last_layers: int | None = None
    steps: int | None = None
    epochs: float | None = None
    batch: int = 8
    batch_tokens: int | None = None
    replay_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise Gemma4Error for what would fail only when the training starts."""
        if not 0 <= self.seed < 2**32:
            raise _out_of_range(f"--seed is {self.seed}.", "Choose 0 to 4294967295.")
        if self.last_layers is not None and self.last_layers < 1:
            raise _out_of_range(f"--last-layers is {self.last_layers}.", "Choose 1 or more.")


def usual_rate(hidden_size: int) -> float:
    """The default rate: 5e-4 was measured for the tiny model's 192.

    It falls with the root of the width: 1.1e-4 for the 12B, which is a guess.
    """
    return 5e-4 * math.sqrt(192 / hidden_size)


def batches(
    settings: TuneSettings, lengths: Sequence[int], replay_lengths: Sequence[int]
) -> list[list[Pick]]:
    """Every step's lines: each pass has all lines once, in an order of its own.

    Args:
        lengths: tokens of each line of the data.
        replay_lengths: the same of the lines that are mixed in.

    Raises:
        Gemma4Error: there would be more than MOST_CONVERSATIONS.
    """
    share = settings.replay_share if replay_lengths else 0.0
    if settings.steps is None:
        epochs = settings.epochs or max(1.0, LEAST_CONVERSATIONS * (1 - share) / len(lengths))
        wanted = math.ceil(epochs * len(lengths))
        planned = wanted / (1 - share)
    else:
        planned = settings.steps * (settings.batch if settings.batch_tokens is None else 1)
    if planned > MOST_CONVERSATIONS:
        raise _out_of_range(
            f"The run would learn from more than {MOST_CONVERSATIONS:,} conversations.",
            "Choose fewer --steps or --epochs, or a smaller --batch or --replay-share.",
        )
    data = _passes(settings.seed, 0, len(lengths))
    replay = _passes(settings.seed, 1, len(replay_lengths))
    result: list[list[Pick]] = [[]]
    tokens = taken = 0
    for number in count(1):
        full = len(result[-1]) >= settings.batch if settings.batch_tokens is None else False
        done = taken >= wanted if settings.steps is None else False
        if done or (full and len(result) == settings.steps):
            return result
        from_replay = math.floor(number * share) > math.floor((number - 1) * share)
        pick: Pick = ("replay", next(replay)) if from_replay else ("data", next(data))
        length = (replay_lengths if from_replay else lengths)[pick[1]]
        if settings.batch_tokens is not None and result[-1]:
            full = tokens + length > settings.batch_tokens
            if full and len(result) == settings.steps:
                return result
        if full:
            result.append([])
            tokens = 0
        result[-1].append(pick)
        tokens += length
        taken += not from_replay
    raise AssertionError("count does not end")


def rate_at(settings: TuneSettings, step: int, steps: int) -> float:
    """The rate of a step, from 0: it rises, then falls as a cosine."""
    warm = min(WARM_STEPS, max(1, steps // 5))
    falling = 0.5 * (1 + math.cos(math.pi * step / steps))
    return settings.rate * min(1, (step + 1) / warm) * (LEAST_RATE + (1 - LEAST_RATE) * falling)


def _passes(seed: int, stream: int, size: int):  # type: ignore[no-untyped-def]
    """Numbers below `size`, without end, each once a pass."""
    for number in count():
        yield from np.random.default_rng([seed, stream, number]).permutation(size).tolist()


def _out_of_range(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("setting_out_of_range", "A setting is out of range", cause, remedy)
