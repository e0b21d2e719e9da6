"""What a model expects of the right answer, as log-probabilities, and how two models differ.

The conversation is written as `Session` writes it (`render.render`), and the right answer follows
as its ids would be drawn. So every model sees the same ids before each row.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, Turn
from ..chat.render import Prompt, render
from ..chat.tokenizer import Tokenizer
from ..generation.prefill_decode import finish, prefill
from ..media.audio import RATE, clips, frames, to_mono16k
from ..media.images import patches
from ..model.config import Config
from ..model.gemma4 import Gemma4
from .question import Asked

Logs = NDArray[np.float32]
"""Log-probabilities (rows, vocabulary): row n is what was expected at the answer's id n."""


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
