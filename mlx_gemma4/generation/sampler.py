"""One row of logits to one token id: temperature, top-k, top-p, suppression.

Randomness comes from explicit keys made from a seed, never from MLX's global state, which belongs
to a thread: the same seed and the same logits lead to the same ids anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import mlx.core as mx

from ..errors import Gemma4Error

# Temperatures and shares are taken as if between these: float32 holds nothing much beyond them.
_LEAST, _MOST = 1e-30, 1e30


@dataclass(frozen=True)
class Draws:
    """Ids (n,) of n rows, the sampler's key after each, and what `Sampler.scores` gets."""

    ids: mx.array
    keys: list[mx.array]
    scores: Sequence[tuple[mx.array, mx.array]] = ()


class Sampler:
    """Draws ids, in the order of transformers' logits processors: temperature, top-k, top-p.

    Args:
        temperature: divides the logits; 0, or less than 1e-30, takes the most likely id and draws
            nothing.
        top_k: only the k most likely ids are drawn from; 0 means all.
        top_p: of those, the fewest whose probabilities sum to at least top_p (nucleus sampling,
            Holtzman et al. 2019, arXiv:1904.09751).
        suppress: ids that are never drawn (`suppress_tokens` of generation_config.json).
        seed: where the keys start.
        likeliest: how many ids are scored beside each that is drawn; None scores nothing.
        presence: taken off the logits of ids that were drawn before, as OpenAI's `presence_penalty`
        frequency: the same, for each time that they were.

    Attributes:
        scores: of each id that was drawn, until it is taken: (1 + likeliest,) ids, that one first,
            and the logarithms of their probabilities before temperature.

    Raises:
        Gemma4Error: if a setting is out of its range.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        suppress: Sequence[int] = (),
        seed: int = 0,
        likeliest: int | None = None,
        presence: float = 0.0,
        frequency: float = 0.0,
    ) -> None:
        if not _is_number(temperature) or not 0 <= temperature < float("inf"):
            raise out_of_range("temperature", temperature, "0 (no chance) or above; 1 is usual")
        if not isinstance(top_k, int) or top_k < 0:
            raise out_of_range("top_k", top_k, "0 (all ids) or above; 64 is usual")
        if not _is_number(top_p) or not 0 < top_p <= 1:
            raise out_of_range("top_p", top_p, "above 0 and at most 1; 0.95 is usual")
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise out_of_range("seed", seed, "0 or above and below 2**64")
        self._temperature = min(temperature, _MOST)
        self._top_k = top_k
        self._top_p = max(top_p, _LEAST)
        self._suppressed = mx.array(sorted(suppress), dtype=mx.int32)[None] if suppress else None
        self._key = mx.random.key(seed)
        self._likeliest = likeliest
        self._penalties = presence, frequency
        self._counts: mx.array | None = None  # (vocab,) how often each id was drawn
        self.scores: list[tuple[mx.array, mx.array]] = []

    def __call__(self, logits: mx.array) -> mx.array:
        """Choose an id: (1, vocab) -> (1,) uint32, lazily."""
        draws = self.ahead(logits)
        self.keep(draws, 1)
        return draws.ids

    def ahead(self, logits: mx.array) -> Draws:
        """Choose an id of each row, as calls one after another would: (n, vocab), lazily.

        The next draw is still the first of these, until `keep` counts how many there were. Only
        one row can be drawn from where the sampler `remembers`.
        """
        if self._suppressed is not None:
            never = mx.array(-mx.inf, logits.dtype)
            places = mx.broadcast_to(self._suppressed, (len(logits), self._suppressed.shape[1]))
            logits = mx.put_along_axis(logits, places, never, axis=-1)
        plain = logits
        if self.remembers:
            if self._counts is None:
                self._counts = mx.zeros(logits.shape[-1])
            presence, frequency = self._penalties
            logits = logits - presence * (self._counts > 0) - frequency * self._counts
        if self._temperature < _LEAST:
            ids = mx.argmax(logits, axis=-1)
            return Draws(ids, [self._key] * len(logits), self._scored(plain, ids))
        logits = logits.astype(mx.float32)
        below = logits - mx.max(logits, axis=-1, keepdims=True)  # 0 and less: it cannot overflow
        ids, kept = self._candidates(below / self._temperature)
        drawn, after, key = [], [], self._key
        for row in range(len(logits)):
            key, own = mx.random.split(key)
            drawn.append(mx.random.categorical(kept[row : row + 1], key=own))
            after.append(key)
        ids = mx.take_along_axis(ids, mx.concatenate(drawn)[:, None], axis=-1)[:, 0]
        return Draws(ids, after, self._scored(plain, ids))

    @property
    def remembers(self) -> bool:
        """Whether a draw depends on those before it."""
        return any(self._penalties)

    def keep(self, draws: Draws, count: int) -> None:
        """Continue after the first `count` of some draws."""
        self._key = draws.keys[count - 1]
        self.scores += draws.scores[:count]
        if self._counts is not None:
            self._counts = self._counts.at[draws.ids[:count]].add(1)

    def _scored(self, logits: mx.array, drawn: mx.array) -> list[tuple[mx.array, mx.array]]:
        if self._likeliest is None:
            return []
        logs = logits.astype(mx.float32)
        logs = logs - mx.logsumexp(logs, axis=-1, keepdims=True)
        likeliest = mx.argsort(-logs, axis=-1)[:, : self._likeliest]
        ids = mx.concatenate([drawn[:, None], likeliest], axis=-1)
        return [*zip(ids, mx.take_along_axis(logs, ids, axis=-1), strict=True)]

    def _candidates(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        """Return the top-k ids (n, k), most likely first, and their logits, -inf beyond top-p."""
        rows, vocab = logits.shape
        k = min(self._top_k or vocab, vocab)
        ids = mx.broadcast_to(mx.arange(vocab), (rows, vocab))
        if k < vocab:
            ids = mx.argpartition(-logits, k - 1, axis=-1)[:, :k]
        order = mx.argsort(-mx.take_along_axis(logits, ids, axis=-1), axis=-1)
        ids = mx.take_along_axis(ids, order, axis=-1)
        kept = mx.take_along_axis(logits, ids, axis=-1)
        if self._top_p < 1:
            probabilities = mx.softmax(kept, axis=-1)
            before = mx.cumsum(probabilities, axis=-1) - probabilities
            kept = mx.where(before < self._top_p, kept, -mx.inf)
        return ids, kept


def out_of_range(name: str, value: object, allowed: str) -> Gemma4Error:
    return Gemma4Error(
        "setting_out_of_range",
        f"The setting {name} is out of range",
        f"It is {f'{value:g}' if _is_number(value) else repr(value)}.",
        f"Choose {allowed}.",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
