"""A model's tokenizer, and replies that keep to a schema or have to call a tool."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..chat.grammar import Grammar, reply_grammar
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..generation.constrain import Constraint, GrammarTokenizer
from ..generation.prefill_decode import Steps
from ..model.config import Config
from ..model.gemma4 import Gemma4
from .pending_turn import listed

_PAUSE = 0.01  # seconds between two looks whether the tokenizer is ready


@lru_cache(maxsize=2)
def grammar_tokenizer(tokenizer: Tokenizer, ends: tuple[int, ...]) -> GrammarTokenizer:
    """Return that of a tokenizer and the ids that end a reply; its conversations share it."""
    return GrammarTokenizer(tokenizer, ends)


class ReplyRules:
    """What one reply has to keep to; building the tokenizer starts here, in the background.

    Args:
        thinking: whether the reply may open with a thought, which is free.
        schema: of the answer, or None.
        must_call: names of tools, one of which has to be called.

    Attributes:
        any: whether there is a grammar to keep to.
        stop: as passed, without empty ones.

    Raises:
        Gemma4Error: as `reply_grammar`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: Config,
        thinking: bool,
        tools: Sequence[Mapping[str, Any]],
        schema: Grammar | None,
        must_call: Sequence[str],
        stop: Sequence[str] = (),
    ) -> None:
        self.stop = tuple(text for text in listed("stop", stop or (), str) if text)
        must_call = listed("must_call", must_call or (), str)
        self._grammar = reply_grammar(schema, tools, must_call, tokenizer.controls)
        self.any = self._grammar is not None
        self._thinking = thinking
        self._width = config.text_config.vocab_size
        self._tokenizer = grammar_tokenizer(tokenizer, tuple(config.eos_token_ids))
        if self.any:
            self._tokenizer.prepare()

    def constraint(self) -> Steps[Constraint]:
        """The constraint of the reply; waits in steps until the tokenizer is built."""
        assert self._grammar is not None
        while not self._tokenizer.prepare():
            time.sleep(_PAUSE)
            yield 0, 1
        return self._tokenizer.constraint(self._grammar, self._thinking, self._width)


def tokenizer_of(model: Gemma4) -> Tokenizer:
    """The tokenizer in a model's folder, shared by its conversations. Raises as `from_folder`."""
    folder = getattr(model, "folder", None)
    if folder is None:
        raise Gemma4Error(
            "tokenizer_missing",
            "There is no tokenizer",
            "The model was not read from a folder.",
            "Pass a tokenizer to the session.",
        )
    file = Path(folder) / "tokenizer.json"
    return _read_tokenizer(folder, file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=2)
def _read_tokenizer(folder: str | Path, changed: int) -> Tokenizer:
    return Tokenizer.from_folder(folder)


def prepare_grammars(model: Gemma4) -> None:
    """Build what grammars need of a model's tokenizer in a thread, before the first reply."""
    grammar_tokenizer(tokenizer_of(model), tuple(model.config.eos_token_ids)).prepare()
