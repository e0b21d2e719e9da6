"""What models expect of right answers, as log-probabilities, and how far apart two are.

The conversation is written as `Session` writes it (`render.render`), and the right answer follows
as its ids would be drawn. So every model sees the same ids before each row. What a reference
expected is kept on the disk: it need not be in the memory beside another model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, Turn
from ..chat.render import Prompt, render
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..generation.prefill_decode import finish, prefill
from ..media.audio import RATE, clips, frames, to_mono16k
from ..media.images import patches
from ..model.config import Config
from ..model.gemma4 import Gemma4
from .models import OurModel
from .question import Asked, Item

Logs = NDArray[np.float32]
"""Log-probabilities (rows, vocabulary): row n is what was expected at the answer's id n."""
ROWS = 64
"""The most rows of an answer that are compared."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A right answer's ids (rows,), its end included, and what a model expected at each."""

    ids: NDArray[np.int64]
    logs: Logs

    @property
    def surprise(self) -> float:
        """Negative log-likelihood of the answer, in nats, summed over its rows."""
        return -float(self.logs[np.arange(len(self.ids)), self.ids].astype(np.float64).sum())

    @property
    def is_greedy(self) -> bool:
        """Whether taking the likeliest id each time would draw this answer."""
        return bool((self.logs.argmax(-1) == self.ids).all())


def distance(reference: Logs, logs: Logs) -> dict[str, float]:
    """How far a model is from a reference on the same rows; equal numbers are exactly 0 and 1.

    Returns:
        divergence: of the model from the reference in nats, the mean over the rows (S. Kullback,
            R. A. Leibler, 1951, https://doi.org/10.1214/aoms/1177729694).
        agreement: share of the rows at which both find the same id the likeliest.
    """
    expected, found = _normalized(reference), _normalized(logs)
    rows = (np.exp(expected) * (expected - found)).sum(-1)
    same = expected.argmax(-1) == found.argmax(-1)
    return {"divergence": float(rows.mean()), "agreement": float(same.mean())}


def _normalized(logs: Logs) -> NDArray[np.float64]:
    """In double precision, in which no divergence comes out below 0."""
    exact = logs.astype(np.float64)
    sums: NDArray[np.float64] = np.log(np.exp(exact).sum(-1, keepdims=True))
    return exact - sums


def answered(
    model: Gemma4, tokenizer: Tokenizer, asked: Asked, most: int | None = None
) -> Answered:
    """Feed a question with its right answer: `most` rows of it, or all with the end of the turn.

    Raises Gemma4Error where the question is longer than the context, or not usable.
    """
    prompt = written(model.config, tokenizer, asked)
    ids = [*tokenizer.encode(asked.wanted), tokenizer.token_id("<turn|>")][:most]
    inputs = model.embed(np.array(prompt.token_ids), prompt.images, audio=prompt.audio)
    cache = model.make_cache()
    last = finish(prefill(model, inputs, cache))
    assert last is not None
    rows = [model.logits(last)[0]]
    if len(ids) > 1:  # the last id is expected, and nothing after it
        rows.append(model.logits(model.hidden(model.embed(np.array(ids[:-1])), cache))[0])
    logits = mx.concatenate(rows).astype(mx.float32)
    logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return Answered(np.array(ids), np.array(logs))


def written(config: Config, tokenizer: Tokenizer, asked: Asked) -> Prompt:
    """Write a question as `Session` does, up to where the answer starts."""
    system = [Turn("system", (TextPart(asked.before),))] if asked.before else []
    return render([*system, turn(asked, config)], tokenizer, config)


def turn(asked: Asked, config: Config) -> Turn:
    tokens = asked.image_tokens or config.image_tokens
    parts: list[Part] = [ImagePart(patches(image, tokens)) for image in asked.images]
    parts += [TextPart(asked.text)] if asked.text else []
    for samples in asked.sounds:
        cut = clips(to_mono16k(samples, RATE), long="split")
        parts += [SoundPart(frames(clip)) for clip in cut]
    return Turn("user", tuple(parts))


class References:
    """What a model expects at the answers of items; computed at most once each.

    A file an item: the log-probabilities (1 MB a row for a vocabulary of 262,144), and the sounds,
    since a voice does not speak the same samples twice.

    Args:
        reference: the model that others are compared with.
        folder: where the files are, or will be.
    """

    def __init__(self, reference: OurModel, folder: Path) -> None:
        self.reference = reference
        self._folder = folder / "reference" / reference.revision

    def missing(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if not self._file(item).is_file()]

    def fill(self, items: Sequence[Item]) -> None:
        """Compute these items, and save them."""
        for item in items:
            try:
                asked = item.make()
            except Gemma4Error:
                continue  # it is reported when it is measured, and the others go on
            found = answered(self.reference.model, self.reference.tokenizer, asked, ROWS)
            path = self._file(item)
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_suffix(".part")  # a killed run leaves no half under its name
            sounds = {f"sound{n}": samples for n, samples in enumerate(asked.sounds)}
            with whole.open("wb") as file:
                np.savez(file, allow_pickle=False, logs=found.logs, **sounds)
            whole.replace(path)

    def read(self, item: Item) -> tuple[Asked, Logs]:
        """What is asked, with the very sounds that the reference heard, and what it expected."""
        asked = item.make()
        with np.load(self._file(item)) as held:
            sounds = tuple(held[f"sound{n}"] for n in range(len(asked.sounds)))
            return replace(asked, sounds=sounds), held["logs"]

    def _file(self, item: Item) -> Path:
        return self._folder / f"{hashlib.sha256(item.id.encode()).hexdigest()[:24]}.npz"
