"""One row of logits to one token id: temperature, top-k, top-p, suppression.

Randomness comes from explicit keys made from a seed, never from MLX's global state, which belongs
to a thread: the same seed and the same logits give the same ids anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import mlx.core as mx

from ..errors import Gemma4Error

# Temperatures and shares are taken as if between these: float32 holds nothing much beyond them.
_LEAST, _MOST = 1e-30, 1e30


@dataclass(frozen=True)
class Draws:
    """Ids (n,) of n rows, and the sampler's key after each."""

    ids: mx.array
    keys: list[mx.array]


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
    ) -> None:
        if not _is_number(temperature) or not 0 <= temperature < float("inf"):
            raise _out_of_range("temperature", temperature, "0 (no chance) or above; 1 is usual")
        if not isinstance(top_k, int) or top_k < 0:
            raise _out_of_range("top_k", top_k, "0 (all ids) or above; 64 is usual")
        if not _is_number(top_p) or not 0 < top_p <= 1:
            raise _out_of_range("top_p", top_p, "above 0 and at most 1; 0.95 is usual")
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise _out_of_range("seed", seed, "0 or above and below 2**64")
        self._temperature = min(temperature, _MOST)
        self._top_k = top_k
        self._top_p = max(top_p, _LEAST)
        self._suppressed = mx.array(sorted(suppress), dtype=mx.int32)[None] if suppress else None
        self._key = mx.random.key(seed)

    def __call__(self, logits: mx.array) -> mx.array:
        """Choose an id: (1, vocab) -> (1,) uint32, lazily."""
        draws = self.ahead(logits)
        self.keep(draws, 1)
        return draws.ids

    def ahead(self, logits: mx.array) -> Draws:
        """Choose an id of each row, as calls one after another would: (n, vocab), lazily.

        The next draw is still the first of these, until `keep` counts how many there were.
        """
        if self._suppressed is not None:
            never = mx.array(-mx.inf, logits.dtype)
            places = mx.broadcast_to(self._suppressed, (len(logits), self._suppressed.shape[1]))
            logits = mx.put_along_axis(logits, places, never, axis=-1)
        if self._temperature < _LEAST:
            return Draws(mx.argmax(logits, axis=-1), [self._key] * len(logits))
        logits = logits.astype(mx.float32)
        below = logits - mx.max(logits, axis=-1, keepdims=True)  # 0 and less: it cannot overflow
        ids, kept = self._candidates(below / self._temperature)
        drawn, after, key = [], [], self._key
        for row in range(len(logits)):
            key, own = mx.random.split(key)
            drawn.append(mx.random.categorical(kept[row : row + 1], key=own))
            after.append(key)
        places = mx.concatenate(drawn)[:, None]
        return Draws(mx.take_along_axis(ids, places, axis=-1)[:, 0], after)

    def keep(self, draws: Draws, count: int) -> None:
        """Go on after the first `count` of some draws."""
        self._key = draws.keys[count - 1]

    def _candidates(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        """Give the top-k ids (n, k), most likely first, and their logits, -inf beyond top-p."""
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


def _out_of_range(name: str, value: object, allowed: str) -> Gemma4Error:
    return Gemma4Error(
        "setting_out_of_range",
        f"The setting {name} is out of range",
        f"It is {f'{value:g}' if _is_number(value) else repr(value)}.",
        f"Choose {allowed}.",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
