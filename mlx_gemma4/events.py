"""What a reply is made of, as plain data: the program, the app and the tests read only these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


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
class Scores:
    """How likely a token of the answer was, before temperature; its text comes next, or later.

    Attributes:
        drawn: the token's bytes, and the natural logarithm of its probability.
        likeliest: the same of the most likely ones, as many as were asked for.
    """

    drawn: tuple[bytes, float]
    likeliest: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Thought:
    """A piece of the model's thinking; put together, the pieces are the whole thought."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A finished call of a tool.

    Attributes:
        id: names this call in its conversation: `Session.add_tool_result` takes it. Two calls are
            equal whatever their ids are.
        name: the tool's name.
        arguments: argument name -> str, int, float, bool, None, list or dict.
    """

    id: str = field(compare=False)
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class CallText:
    """A piece of a call while it is drawn, in the model's own notation (`chat.tools`).

    A `ToolCall` of this id follows; or a `Token` with all its text, if it ends malformed.

    Attributes:
        id: the call's.
        text: may be empty where a string starts or ends.
        in_string: whether it is a part of a string.
    """

    id: str
    text: str
    in_string: bool


@dataclass(frozen=True)
class Heard:
    """What the model understood of a spoken turn, as text.

    Attributes:
        text: empty where nothing was understood.
        relayed: the conversation holds this text instead of the sound.
    """

    text: str
    relayed: bool = False


@dataclass(frozen=True)
class Done:
    """The end of a reply.

    Attributes:
        reason: "stop" (the model ended its turn), "length" (the limit that was asked for),
            "context" (no room is left), "cancelled", or "silence" (nothing was understood,
            and there is nothing else to answer).
        stats: measured numbers of this reply by name: counts, and times in seconds.
        ids: the tokens of the reply as the conversation keeps them (`Turn.ids`).
        stopped_by: the one of `stop` that ended it, or nothing.
    """

    reason: str
    stats: Mapping[str, float] = field(default_factory=dict)
    ids: tuple[int, ...] = ()
    stopped_by: str = ""


@dataclass(frozen=True)
class Moved:
    """Something is not where it was added, or a sound is heard elsewhere.

    Attributes:
        what: "picture", "video", "text" or "sound".
        where: "before the sound", which the model expects of pictures and text: the sound is heard
            again after it; "next turn", where hearing it again would take too long; or "relay",
            where sound goes that would end past the model's `audio_safe_position`.
        rows: rows that are fed again for it.
    """

    what: str
    where: Literal["before the sound", "next turn", "relay"]
    rows: int


@dataclass(frozen=True)
class ContextLow:
    """Less than an eighth of the context is left; reported once, until there is more again.

    Attributes:
        left: rows that are free.
    """

    left: int


@dataclass(frozen=True)
class Dropped:
    """The oldest turns were taken out of the conversation to make room.

    Attributes:
        turns: how many.
    """

    turns: int


Notice = Moved | ContextLow | Dropped
"""What happens without being asked for."""
Event = Token | Scores | Thought | CallText | ToolCall | Heard | Done | Notice
