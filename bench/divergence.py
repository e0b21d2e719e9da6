"""How far a quantized tiny model's answers are from the unquantized one's, by medium.

The measure is the KL divergence of the next token's distribution from that of the full model, in
nats, averaged over the rows of an answer; both see the same conversation and the right answer
before each row. Items come from the part of the small world that training never saw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Tasks
from mlx_gemma4.model import Gemma4
from tools.tiny.conversation import Example, Writer

MEDIA = ("text", "picture", "sound")
_ASKED = ("total", "tax", "date", "shop", "count", "lines")

Divergences = Mapping[str, np.ndarray]
"""By medium, one number an item."""


class Meter:
    """Measures models against a full one on the same items.

    Args:
        count: items of each medium.
        examined: take items that training never saw.
    """

    def __init__(self, full: Gemma4, folder: Path, count: int, seed: int, examined: bool) -> None:
        tasks = Tasks(seed, replace(EXAMINATION, examination=examined))
        writer = Writer(folder / "tokenizer.json")
        spoken = (tasks.digits, tasks.commands)
        conversations = {
            "text": [tasks.chat() for _ in range(count)],
            "picture": [tasks.asked(_ASKED[n % len(_ASKED)]) for n in range(count)],
            "sound": [spoken[n % 2]()[:1] for n in range(count)],
        }
        self._examples = {m: [writer.write(c) for c in conversations[m]] for m in MEDIA}
        self._expected = {m: [_logs(full, e) for e in self._examples[m]] for m in MEDIA}

    def measure(self, model: Gemma4) -> Divergences:
        """The divergence of each item."""
        return {
            medium: np.array(
                [
                    np.sum(np.exp(p) * (p - _logs(model, example)), axis=-1).mean()
                    for example, p in zip(examples, self._expected[medium], strict=True)
                ]
            )
            for medium, examples in self._examples.items()
        }


def mean(divergences: Divergences) -> float:
    """The mean over the media, each counting alike."""
    return float(np.mean([divergences[medium].mean() for medium in MEDIA]))


def interval(values: Sequence[np.ndarray], others: Sequence[np.ndarray] = ()) -> tuple[float, ...]:
    """95 % interval of the mean of means, or of its ratio to that of others on the same items.

    By drawing items anew a thousand times (B. Efron, 1979, https://doi.org/10.1214/aos/1176344552).
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


def _logs(model: Gemma4, example: Example) -> np.ndarray:
    """Log probabilities (rows, vocabulary) where the ids of the answer are predicted."""
    images = list(zip(example.patches, example.positions, strict=True))
    logits = model.forward(example.ids, images=images, audio=example.frames)[0]
    rows = mx.array([row - 1 for row, learn in enumerate(example.learn) if learn])
    logits = logits[rows].astype(mx.float32)
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True), np.float64)
