"""The prompt of a conversation, rendered again only where it changed.

While somebody speaks, the pending turn grows many times a second behind a conversation that may be
long. So what is before that turn is kept, where the chat format writes the two independently.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ..chat.messages import Turn
from ..chat.render import Prompt, render, unfinished
from ..chat.tokenizer import Tokenizer
from ..chat.tools import check_tools
from ..model.config import Config
from .rows import PromptRows, with_rows


class Rendering:
    def __init__(self, tokenizer: Tokenizer, config: Config, thinking: bool) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._thinking = thinking
        self.tools: tuple[Mapping[str, Any], ...] = ()
        self.open(())

    def open(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Declare other tools, and forget what was rendered; Gemma4Error where one is malformed."""
        check_tools(tools)
        self.tools = tuple(tools)
        self._last: dict[bool, tuple[Sequence[Turn], PromptRows]] = {}
        self._before: tuple[Sequence[Turn], PromptRows | None] = (), None

    def prompt(self, turns: Sequence[Turn]) -> PromptRows:
        """Render turns, up to where the reply starts."""
        if (last := self._last.get(True)) and _same(last[0], turns):
            return last[1]
        return self._remembered(True, turns, self._render(turns, open_reply=True))

    def settled(self, turns: Sequence[Turn], pending: bool) -> PromptRows:
        """Render turns, as far as their rows stay the same; a `pending` last one can still grow."""
        if (last := self._last.get(False)) and _same(last[0], turns):
            return last[1]
        if not turns:
            return PromptRows(Prompt([], [], [], []), [], self._config)
        if not pending or turns[-1].role != "user":
            return self._remembered(False, turns, self._render(turns, open_reply=False))
        of, before = self._before
        if before is not None and _same(of, turns[:-1]):
            rows = _joined(before, self._unfinished(self._tail(turns[-1:])))
        else:
            whole, tail = self._render(turns, open_reply=False), self._tail(turns[-1:])
            start = len(whole) - len(tail)
            before = PromptRows(whole.between(0, start), whole.rows[:start], self._config)
            # kept if that turn alone is written as it is here
            alike = whole.prompt.token_ids[start:] == tail.prompt.token_ids
            self._before = turns[:-1], before if alike else None
            rows = self._unfinished(whole)
        return self._remembered(False, turns, rows)

    def _unfinished(self, whole: PromptRows) -> PromptRows:
        prompt = unfinished(whole.prompt, self._tokenizer, self._config)
        return PromptRows(prompt, whole.rows[: len(prompt.token_ids)], self._config)

    def _render(self, turns: Sequence[Turn], open_reply: bool) -> PromptRows:
        prompt = render(
            turns,
            self._tokenizer,
            self._config,
            thinking=self._thinking,
            tools=self.tools,
            open_reply=open_reply,
        )
        return with_rows(prompt, turns, self._config)

    def _remembered(self, kind: bool, turns: Sequence[Turn], rows: PromptRows) -> PromptRows:
        self._last[kind] = turns, rows
        return rows

    def _tail(self, turn: Sequence[Turn]) -> PromptRows:
        """A user's turn as it is written alone, from its header on."""
        rows = self._render(turn, open_reply=False)
        ids = rows.prompt.token_ids
        start = len(ids) - 1 - ids[::-1].index(self._tokenizer.token_id("<|turn>"))
        return PromptRows(rows.between(start, len(rows)), rows.rows[start:], self._config)


def _same(turns: Sequence[Turn], others: Sequence[Turn]) -> bool:
    return len(turns) == len(others) and all(map(operator.is_, turns, others))


def _joined(one: PromptRows, other: PromptRows) -> PromptRows:
    a, b = one.prompt, other.prompt
    prompt = Prompt(
        a.token_ids + b.token_ids, a.images + b.images, a.videos + b.videos, a.audio + b.audio
    )
    return PromptRows(prompt, one.rows + other.rows, one.config)
