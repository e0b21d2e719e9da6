"""Tool calls as they are drawn: the model's notation in, pieces of JSON out. Pure.

The pieces of one call, put together, are the JSON of its arguments. A dialect passes all events of
a reply through `CallStream.take`, and writes what comes out in its own form.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..chat.parser import BARE_KEY
from ..events import CallText, Done, Thought, Token, ToolCall

_HEAD = re.compile(r"\s*call:([^\s{]+)\s*(?=\{)")
_SURE = re.compile(r".*(?:[\]}:]|(?=[{,])(?!^))", re.DOTALL)
"""The part of a text outside strings whose meaning does not depend on what follows: up to a mark
that ends something, or before one that a key may follow."""


@dataclass(frozen=True)
class CallStarted:
    """A call's name is known; its arguments follow."""

    id: str
    name: str


@dataclass(frozen=True)
class CallDelta:
    """A piece of the JSON of the arguments, never empty."""

    text: str


@dataclass(frozen=True)
class CallEnded:
    """The call is whole.

    Attributes:
        call: the whole call.
        arguments: the JSON of its arguments: all pieces.
    """

    call: ToolCall
    arguments: str


@dataclass(frozen=True)
class CallBroken:
    """The call that was started is not completed: the reply was cut, or the call is malformed.

    Attributes:
        text: what the model wrote.
        arguments: all pieces so far.
    """

    text: str
    arguments: str


class CallStream:
    """Follows the calls of one reply."""

    def __init__(self) -> None:
        self._id = ""  # of the call that is drawn
        self._name = ""  # once it is known
        self._outside = ""  # text outside strings that may still mean something else
        self._in_string = False
        self._json = ""

    def take(self, event: object) -> Iterator[object]:
        """Yield the event, or the pieces of a call that are in it; None ends an open call."""
        match event:
            case CallText():
                yield from self._piece(event)
            case ToolCall():
                yield from self._end(event)
            case Token(text) if self._name:
                yield CallBroken(text, self._json)
                self._id = self._name = ""
            case Done() | Thought() | None:
                if self._name:
                    yield CallBroken("", self._json)
                self._id = self._name = ""
                yield event
            case _:
                yield event

    def _piece(self, piece: CallText) -> Iterator[object]:
        if piece.id != self._id:
            self._id, self._name, self._json = piece.id, "", ""
            self._outside, self._in_string = "", False
        text = ""
        if piece.in_string != self._in_string:
            self._in_string = piece.in_string
            text = '"'
            if piece.in_string:  # what came before it is over
                text, self._outside = _json(self._outside) + text, ""
        if piece.in_string:
            text += json.dumps(piece.text, ensure_ascii=False)[1:-1]
        else:
            self._outside += piece.text
            if not self._name and (head := _HEAD.match(self._outside)):
                self._name, self._outside = head[1], self._outside[head.end() :]
                yield CallStarted(self._id, self._name)
            sure = _SURE.match(self._outside)
            if self._name and sure and '"' not in self._outside:
                text += _json(sure[0])
                self._outside = self._outside[sure.end() :]
        if text and self._name:
            self._json += text
            yield CallDelta(text)

    def _end(self, call: ToolCall) -> Iterator[object]:
        if self._id != call.id or not self._name:
            self._json, rest = "", json.dumps(dict(call.arguments), ensure_ascii=False)
            yield CallStarted(call.id, call.name)
        else:
            rest = _json(self._outside).rstrip()
        if rest:
            yield CallDelta(rest)
        yield CallEnded(call, self._json + rest)
        self._id = self._name = ""


def _json(text: str) -> str:
    """Convert a text outside strings to JSON: keys get their quotes."""
    return BARE_KEY.sub(r'\1"\2":', text)
