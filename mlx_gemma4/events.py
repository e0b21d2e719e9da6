"""What a reply is made of, as plain data: the program, the app and the tests read only these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Token:
    """A piece of the answer's text, as soon as it is whole.

    Attributes:
        text: never empty; never half a character; never a control token's spelling.
        id: the token that completed the text.
    """

    text: str
    id: int


@dataclass(frozen=True)
class Thought:
    """A piece of the model's thinking; put together, the pieces are the whole thought."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A finished call of a tool.

    Attributes:
        name: the tool's name.
        arguments: argument name -> str, int, float, bool, None, list or dict.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Heard:
    """What the model understood of a spoken turn, as text."""

    text: str


@dataclass(frozen=True)
class Done:
    """The end of a reply.

    Attributes:
        reason: "stop" (the model ended its turn), "length" (the limit that was asked for),
            "context" (no room is left) or "cancelled".
        stats: measured numbers of this reply by name: counts, and times in seconds.
    """

    reason: str
    stats: Mapping[str, float] = field(default_factory=dict)


Event = Token | Thought | ToolCall | Heard | Done
