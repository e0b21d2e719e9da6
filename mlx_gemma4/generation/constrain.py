"""Decode under a grammar: before each draw, the ids that the grammar does not allow are masked.

A mask needs the id before it, so this is a loop of its own: the forward pass runs while the mask is
computed. Grammars are those of llguidance (`chat/grammar.py` writes them).
"""

from collections.abc import Collection, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, cast

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from ..errors import Gemma4Error
from ..limits import FREED_TOKENS
from ..model.cache import Cache
from ..model.gemma4 import Gemma4
from .prefill_decode import Cancelled
from .sampler import Sampler
from .speculate import feed

_OPENS, _CLOSES = "<|channel>", "<channel|>"


class Vocabulary(Protocol):
    """What is needed of a tokenizer (`chat.tokenizer.Tokenizer`)."""

    controls: Mapping[str, int]

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of a token."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""


class Constraint:
    """Which ids may come next in one reply.

    Args:
        thinking: whether the reply may open with a thought, which is free but for its end.
    """

    def __init__(
        self, matcher: LLMatcher, controls: Mapping[str, int], thinking: bool, width: int
    ) -> None:
        self._matcher = matcher
        self._opens = controls.get(_OPENS) if thinking else None
        self._closes = controls.get(_CLOSES)
        self._in_thought = False
        self._thought = np.ones(width, bool)
        self._thought[[one for one in controls.values() if one != self._closes]] = False

    def mask(self) -> NDArray[np.bool_]:
        """Which ids: (width of the logits,). Raises Gemma4Error where it gets too complex."""
        if self._in_thought:
            return self._thought
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise Gemma4Error(
                "grammar_unusable",
                "The reply cannot be kept to its schema",
                f"{self._matcher.get_error()}.",
                "Use a simpler schema.",
            )
        mask = np.zeros(len(self._thought), bool)
        allowed = np.unpackbits(bits, bitorder="little")[: len(mask)]
        mask[: len(allowed)] = allowed
        if self._opens is not None:
            mask[self._opens] = True
        return mask

    def take(self, token_id: int) -> None:
        """Continue after an id that the last mask allowed."""
        if self._in_thought:
            self._in_thought = token_id != self._closes
        elif token_id == self._opens:
            self._in_thought = True
        else:
            self._matcher.consume_token(token_id)
        self._opens = None


class GrammarTokenizer:
    """A vocabulary as llguidance needs it: built once, which takes seconds for 262,144 ids.

    Args:
        ends: ids that end a reply.
    """

    def __init__(self, vocabulary: Vocabulary, ends: Collection[int]) -> None:
        self._vocabulary = vocabulary
        self._ends = sorted(ends)
        self._built: Future[LLTokenizer] | None = None

    def prepare(self) -> bool:
        """Build it in a thread, unless that was started before; return whether it is ready."""
        if self._built is None:
            pool = ThreadPoolExecutor(1, "grammar tokenizer")
            self._built = pool.submit(self._build)
            pool.shutdown(wait=False)
        return self._built.done()

    def constraint(self, grammar: str, thinking: bool, width: int) -> Constraint:
        """Keep a reply to a grammar of `chat.grammar`; waits until the tokenizer is ready."""
        self.prepare()
        assert self._built is not None
        matcher = LLMatcher(self._built.result(), grammar, log_level=0)
        return Constraint(matcher, self._vocabulary.controls, thinking, width)

    def _build(self) -> LLTokenizer:
        return LLTokenizer(
            TokenizerWrapper(_Tokens(self._vocabulary, self._ends[0])), None, self._ends
        )


class _Tokens:
    """The attributes that llguidance reads."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, end: int) -> None:
        names = {token_id: name.encode() for name, token_id in vocabulary.controls.items()}
        self.eos_token_id = end
        self.special_token_ids = [*names]
        self.tokens = [
            names.get(one) or vocabulary.token_bytes(one) for one in range(vocabulary.vocab_size)
        ]
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        return self._vocabulary.encode(text.decode())


def decode_constrained(
    model: Gemma4,
    hidden: mx.array,
    cache: Cache,
    sampler: Sampler,
    ends: Collection[int],
    limit: int,
    constraint: Constraint,
    cancelled: Cancelled | None = None,
) -> Generator[int]:
    """Draw ids as `decode` does, but only those that a constraint allows.

    The cache holds every id that was yielded, but for the last. Errors are those of `mask`.
    """
    logits = model.logits(hidden)[:, 0]
    never = mx.array(-mx.inf, logits.dtype)
    for left in reversed(range(limit)):
        if cancelled is not None and cancelled():
            return
        mask = mx.array(constraint.mask())[None]  # (1, vocab), while the logits are computed
        token = sampler(mx.where(mask, logits, never))
        drawn = cast(int, token.item())
        constraint.take(drawn)
        if left and drawn not in ends:
            logits = model.language_model.logits(feed(model, cache, token))[:, 0]
            mx.async_eval(logits)
        yield drawn
        if drawn in ends:
            return
        if left and left % FREED_TOKENS == 0:
            mx.clear_cache()
