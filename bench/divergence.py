"""How far a quantized tiny model's answers are from the unquantized one's, by medium.

The measure is the KL divergence of the next token's distribution from that of the full model, in
nats, averaged over the rows of an answer; both see the same conversation and the right answer
before each row. Items come from the part of the small world that training never saw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.evaluate.logits import answered, distance
from mlx_gemma4.evaluate.quant import MEDIA, tiny
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, drawn
from mlx_gemma4.model.gemma4 import Gemma4

Divergences = Mapping[str, np.ndarray]
"""By medium, one number an item."""


class Meter:
    """Measures models against a full one on the same items.

    Args:
        count: items of each medium.
        examined: take items that training never saw.
    """

    def __init__(self, full: Gemma4, folder: Path, count: int, seed: int, examined: bool) -> None:
        world = replace(EXAMINATION, examination=examined)
        self._tokenizer = Tokenizer.from_folder(folder)
        learned = "" if examined else "-learned"
        self._asked = {
            medium: [
                drawn(f"{item.id}{learned}", item.facts["kind"], world)
                for item in tiny(medium, count, seed)
            ]
            for medium in MEDIA
        }
        self._expected = {
            medium: [answered(full, self._tokenizer, asked).logs for asked in asked_of]
            for medium, asked_of in self._asked.items()
        }

    def measure(self, model: Gemma4) -> Divergences:
        """The divergence of each item."""
        return {
            medium: np.array(
                [
                    distance(logs, answered(model, self._tokenizer, asked).logs)["divergence"]
                    for asked, logs in zip(asked_of, self._expected[medium], strict=True)
                ]
            )
            for medium, asked_of in self._asked.items()
        }


def mean(divergences: Divergences) -> float:
    """The mean over the media, each counting alike."""
    return float(np.mean([divergences[medium].mean() for medium in MEDIA]))


def interval(values: Sequence[np.ndarray], others: Sequence[np.ndarray] = ()) -> tuple[float, ...]:
    """95 % interval of the mean of means, or of its ratio to that of others on the same items.

    By drawing the items with replacement, a thousand times
    (B. Efron, 1979, https://doi.org/10.1214/aos/1176344552).
    """
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        places = [rng.integers(len(v), size=len(v)) for v in values]
        top = np.mean([v[p].mean() for v, p in zip(values, places, strict=True)])
        bottom = [v[p].mean() for v, p in zip(others, places, strict=True)] if others else [1.0]
        drawn.append(top / np.mean(bottom))
    return tuple(np.percentile(drawn, (2.5, 97.5)).tolist())


def spearman(one: Sequence[float], two: Sequence[float]) -> float:
    """Correlation of ranks."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, two)]
    return float(np.corrcoef(*ranks)[0, 1])
