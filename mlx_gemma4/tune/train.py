"""The training loop: one conversation after another, a step of Adam after some of them.

Every number of a run follows from the settings, the lines and the model, so that a run which was
killed and resumed ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from ..errors import Gemma4Error
from ..limits import TRAINING_SCORE_LIMIT
from ..model.gemma4 import Gemma4
from ..model.inputs import Inputs
from .data import Data, Example
from .schedule import Pick, TuneSettings, batches, rate_at
from .state import State

CLIP = 1.0
"""The largest norm of a step's gradient."""
HELD_OUT_LINES = 32
"""Lines of the held-out data that are measured while training."""
MEASURED = 5
"""Steps after which they are measured: the first, the last, and some between."""


@dataclass(frozen=True)
class TrainingStep:
    """A step that is done.

    Attributes:
        number: of the step, from 1.
        loss: per token of the answers, in nats.
        held_out: the same of the held-out data, where it was measured.
        norm: length of the gradient before it was clipped.
        tokens: that went through the model.
        conversations: that were learned from.
        seconds: that it took.
        peak_bytes: the most memory of MLX since the start.
    """

    number: int
    steps: int
    loss: float
    held_out: float | None
    norm: float
    rate: float
    tokens: int
    conversations: int
    seconds: float
    peak_bytes: int


class Trainer:
    """Trains the layers of `lora.add`.

    Args:
        replay: lines that keep what the model could before; None for none.
        held_out: lines to measure on; None for none.
        recompute: compute each layer again backward (`Gemma4.training_hidden`).
        together: conversations go through the model side by side up to so many tokens.
    """

    def __init__(
        self,
        model: Gemma4,
        data: Data,
        replay: Data | None,
        held_out: Data | None,
        settings: TuneSettings,
        recompute: bool,
        together: int,
    ) -> None:
        self._model = model
        self._sets = {"data": data, "replay": replay, "held_out": held_out}
        self._settings = settings
        self._recompute = recompute
        self._together = together
        self._embeds = settings.embedders
        lengths = [[one.tokens for one in part.figures] if part else [] for part in (data, replay)]
        self.batches: list[list[Pick]] = batches(settings, *lengths)
        self._gradients = nn.value_and_grad(model, self._loss)
        self.optimizer = optim.Adam(settings.rate)
        self.optimizer.init(model.trainable_parameters())

    def state(self, step: int) -> State:
        """What a run needs to be resumed after `step` steps."""
        return State(step, self._model.trainable_parameters(), self.optimizer.state)

    def restore(self, state: State) -> None:
        self._model.update(state.trained)
        self.optimizer.state = state.optimizer

    def run(self, start: int = 0) -> Iterator[TrainingStep]:
        """Train from step `start` on.

        Raises:
            Gemma4Error: a loss is not finite; the line is named.
        """
        steps = len(self.batches)
        measured = {round(n * (steps - 1) / (MEASURED - 1)) for n in range(MEASURED)}
        for number in range(start, steps):
            started = time.perf_counter()
            rate = rate_at(self._settings, number, steps)
            loss, norm, tokens = self._step(self.batches[number], rate)
            held_out = self.held_out_loss() if number in measured else None
            yield TrainingStep(
                number + 1,
                steps,
                loss,
                held_out,
                norm,
                rate,
                tokens,
                len(self.batches[number]),
                time.perf_counter() - started,
                mx.get_peak_memory(),
            )

    def held_out_loss(self) -> float | None:
        """The loss per token of the answers, over the first lines; None without any."""
        lines = self._sets["held_out"]
        picks: list[Pick] = [("held_out", n) for n in range(min(len(lines or ()), HELD_OUT_LINES))]
        total, count = 0.0, 0
        for together in self._packs(picks) if picks else ():
            value = self._loss(*self._arguments([one for _, one in together]))
            total += value.item()  # type: ignore[assignment]
            count += sum(len(one.targets) for _, one in together)
        return total / count if count else None

    def _step(self, picks: Sequence[Pick], rate: float) -> tuple[float, float, int]:
        total, count, tokens, gradients = 0.0, 0, 0, None
        for together in self._packs(picks):
            value, new = self._gradients(*self._arguments([one for _, one in together]))
            gradients = new if gradients is None else tree_map(mx.add, gradients, new)
            mx.eval(value, gradients)
            if not math.isfinite(value.item()):
                raise self._not_finite(together)
            total += value.item()
            for _, example in together:
                count += len(example.targets)
                tokens += len(example)
        gradients = tree_map(lambda one: one / count, gradients)
        gradients, norm = optim.clip_grad_norm(gradients, CLIP)
        self.optimizer.learning_rate = rate
        self.optimizer.update(self._model, gradients)
        mx.eval(self._model.trainable_parameters(), self.optimizer.state)
        return total / count, norm.item(), tokens

    def _packs(self, picks: Sequence[Pick]) -> Iterator[list[tuple[str, Example]]]:
        """Conversations that go through the model together, each with its place."""
        pack: list[tuple[str, Example]] = []
        for kind, number in picks:
            data = self._sets[kind]
            assert data is not None
            for example in data.examples(number):
                if pack and sum(len(one) for _, one in pack) + len(example) > self._together:
                    yield pack
                    pack = []
                pack.append((data.lines[number].place, example))
        yield pack

    def _arguments(self, examples: Sequence[Example]) -> tuple[Any, ...]:
        """What `_loss` takes: embeddings are constants where the embedders are not trained."""
        starts = accumulate(map(len, examples), initial=0)
        targets = [one.targets for one in examples]
        rows = np.concatenate([t - 1 + start for t, start in zip(targets, starts, strict=False)])
        ids = [one.prompt.token_ids[n] for one, t in zip(examples, targets, strict=True) for n in t]
        prompts: list[Any] = list(examples)
        if not self._embeds:
            prompts = [embedded(self._model, one) for one in examples]
            mx.eval([one.embeddings for one in prompts])
        return prompts, mx.array(rows), mx.array(ids)

    def _loss(self, prompts: Sequence[Example | Inputs], rows: mx.array, ids: mx.array) -> mx.array:
        inputs = [one if isinstance(one, Inputs) else embedded(self._model, one) for one in prompts]
        hidden = self._model.training_hidden(*inputs, recompute=self._recompute)
        return answer_loss(self._model, hidden[:, rows], ids)

    def _not_finite(self, together: Sequence[tuple[str, Example]]) -> Gemma4Error:
        """The error, with the line whose loss is not finite."""
        place = together[0][0]
        losses = {place: self._loss(*self._arguments([one])) for place, one in together}
        finite = {place: bool(mx.isfinite(value).item()) for place, value in losses.items()}
        place = next((place for place, is_finite in finite.items() if not is_finite), place)
        return Gemma4Error(
            "loss_not_finite",
            "The training cannot continue",
            f"The loss of {place} is not finite.",
            "Look at that line, or lower --rate; --resume continues from the last saved step.",
        )


def embedded(model: Gemma4, example: Example) -> Inputs:
    prompt = example.prompt
    return model.embed(prompt.token_ids, prompt.images, prompt.videos, prompt.audio)


def answer_loss(model: Gemma4, hidden: mx.array, ids: mx.array) -> mx.array:
    """Cross entropy, summed: the rows (1, n, hidden) before the ids (n,) predict them.

    Where the logits would be large they are made in pieces, and again in the backward pass.
    """

    def loss(hidden: mx.array, ids: mx.array) -> mx.array:
        logits = model.logits(hidden)[0].astype(mx.float32)
        return nn.losses.cross_entropy(logits, ids, reduction="sum")

    count = len(ids)
    rows = max(1, TRAINING_SCORE_LIMIT // (4 * model.config.text_config.vocab_size))
    if count <= rows:
        return loss(hidden, ids)
    again = mx.checkpoint(loss)
    pieces = [slice(start, start + rows) for start in range(0, count, rows)]
    return mx.add(mx.array(0.0), sum(again(hidden[:, one], ids[one]) for one in pieces))
