"""A client's request, the same for all dialects: turns, tools and settings, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..events import Thought, ToolCall
from ..runtime.commands import AddText, AddToolResult

Schema = Mapping[str, Any]
Role = Literal["system", "user", "model"]


@dataclass(frozen=True)
class Media:
    """A picture or a sound as it was sent; `media.py` reads it.

    Attributes:
        kind: what it must be.
        source: a data URI or an address of a picture; base64 of a sound.
        tokens: the most that a picture may take; None for the model's own number.
        param: its place in the request, for errors.
    """

    kind: Literal["image", "sound"]
    source: str
    tokens: int | None = None
    param: str = ""


RequestPart = AddText | Media | AddToolResult | Thought | ToolCall
"""Part of a turn; the content of an `AddToolResult` is text, or a list of texts and `Media`."""


@dataclass(frozen=True, eq=False)
class RequestTurn:
    """A turn of a client's conversation.

    Attributes:
        role: results of tools belong to a turn of the user.
        parts: in order.
    """

    role: Role
    parts: tuple[RequestPart, ...]


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn: the fields of `runtime.commands.Reply` of the same names."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    likeliest: int | None = None
    presence: float = 0.0
    frequency: float = 0.0


@dataclass(frozen=True, eq=False)
class ReplyRequest:
    """A conversation to be answered.

    Attributes:
        turns: the whole conversation; the last one is the user's.
        tools: declarations as in OpenAI's chat completions.
        tool_choice: "auto", "none", "required", or the name of the tool that must be called.
        parallel: whether a reply may call several tools.
        sampling: how the reply is drawn.
        grammar: a JSON schema that the answer keeps to, or None.
        thinking: whether the model thinks first.
        truncates: whether the oldest turns are left out where the context is full.
        stream: whether the reply is wanted piece by piece.
        usage: whether a stream ends with the counts of tokens.
        n: how many replies.
        model: the name that the client sent.
        metadata: whatever the dialect must return.
    """

    turns: tuple[RequestTurn, ...]
    tools: tuple[Schema, ...] = ()
    tool_choice: str = "auto"
    parallel: bool = True
    sampling: Sampling = Sampling()
    grammar: Schema | None = None
    thinking: bool = False
    truncates: bool = False
    stream: bool = False
    usage: bool = False
    n: int = 1
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def must_call(self) -> tuple[str, ...]:
        """Names of tools, one of which the reply has to call."""
        names = tuple(tool["function"]["name"] for tool in self.tools)
        if self.tool_choice in ("auto", "none"):
            return ()
        return names if self.tool_choice == "required" else (self.tool_choice,)
