"""How the commands print an answer: its text or one JSON object on stdout, all else on stderr."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..events import Done, Event, Heard, Notice, Thought, Token, ToolCall
from ..runtime.notices import sentence
from .streams import inform as inform
from .streams import put

STATS = (
    "prompt_tokens", "reply_tokens", "seconds_to_first_token", "prompt_tokens_per_second",
    "tokens_per_second", "target_forwards", "drafted", "accepted",
)  # fmt: skip
"""What is shown of a reply's stats."""


class Printer:
    def __init__(self) -> None:
        self._open: str | None = None  # what the unfinished line holds

    def show(self, event: Event) -> None:
        """Put the answer's text on stdout, and all else on stderr."""
        if isinstance(event, Token):
            self._head("answer")
            put(event.text, end="")
        elif isinstance(event, Thought):
            self._head("thought")
            inform(event.text, end="")
        elif isinstance(event, Done):
            if self._open != "ended":
                put()
            self._open = None
            if event.reason == "silence":
                inform("Nothing was understood in the sound.")
        elif isinstance(event, Heard):
            self._inform(f"Heard: {event.text}")
        elif isinstance(event, ToolCall):
            self._inform(f"The model calls a tool: {event.name} {_written(event.arguments)}")
        elif isinstance(event, Notice):
            self._inform(sentence(event))

    def _head(self, what: str) -> None:
        if self._open == "thought" and what == "answer":
            inform("")
        self._open = what

    def _inform(self, line: str) -> None:
        if self._open == "answer":
            put()
            self._open = "ended"
        inform(line)


def print_text(events: Iterable[Event]) -> Done:
    printer = Printer()
    for event in events:
        printer.show(event)
        if isinstance(event, Done):
            return event
    raise AssertionError("a reply ends with Done")


def print_json(events: Iterable[Event], more: Mapping[str, Any] | None = None) -> Done:
    """Print a whole reply as one JSON object; `more` has further keys, read at its end."""
    every = list(events)
    done = every[-1]
    assert isinstance(done, Done), "a reply ends with Done"
    result: dict[str, Any] = {
        "answer": "".join(event.text for event in every if isinstance(event, Token)),
        "thought": "".join(event.text for event in every if isinstance(event, Thought)),
        "heard": "".join(event.text for event in every if isinstance(event, Heard)),
        "tool_calls": [
            {"name": event.name, "arguments": event.arguments}
            for event in every
            if isinstance(event, ToolCall)
        ],
        "reason": done.reason,
        **{name: done.stats.get(name) for name in STATS},
        **(more or {}),
    }
    put(_written(result))
    return done


def _written(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def stats_line(done: Done) -> str:
    parts = [
        f"{name.replace('_', ' ')} {done.stats[name]:.4g}" for name in STATS if name in done.stats
    ]
    return "; ".join(parts)
