"""A conversation as plain data: turns made of text, pictures, sound, video and tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error
from ..events import Thought
from ..events import ToolCall as ToolCall
from ..media.images import Picture

INSTRUCTION = (
    "Transcribe the following speech segment in its original language. "
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, "
    "and write 3 instead of three."
)
"""Asks for a transcript, in the words of the model card of google/gemma-4-12B-it (sound example).

A package of the catalogue may have words of its own: the tiny model was not trained on these.
"""


@dataclass(frozen=True)
class TextPart:
    """Words; never read for control tokens. Raises Gemma4Error where they are no str."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise Gemma4Error(
                "conversation_malformed",
                "The conversation is malformed",
                f"A text is of type {type(self.text).__name__}.",
                "Use a str.",
            )


@dataclass(frozen=True, eq=False)
class ImagePart:
    """A picture, cut into patches."""

    picture: Picture


@dataclass(frozen=True, eq=False)
class SoundPart:
    """A clip: (n, 640) float32 frames of 40 ms."""

    frames: NDArray[np.float32]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all frames."""
        return sha256(np.ascontiguousarray(self.frames).data).hexdigest()

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """A name of 16 bytes for each frame's content: clips are distinguished by them."""
        return tuple(blake2b(frame.tobytes(), digest_size=16).digest() for frame in self.frames)


@dataclass(frozen=True, eq=False)
class VideoPart:
    """Pictures of a film, each with its time in seconds from the start."""

    frames: tuple[tuple[float, Picture], ...]


@dataclass(frozen=True)
class ToolResult:
    """What a tool returned.

    Attributes:
        name: the tool's name.
        response: a str, number, bool, None, list or dict.
        id: of the call (`ToolCall.id`); empty where it is not known.
    """

    name: str
    response: Any
    id: str = field(default="", compare=False)


Medium = ImagePart | SoundPart | VideoPart
Part = TextPart | Medium | Thought | ToolCall | ToolResult
Role = Literal["system", "user", "model", "tool"]

_ALLOWED: Mapping[str, tuple[type, ...]] = {
    "system": (TextPart,),
    "user": (TextPart, ImagePart, VideoPart, SoundPart),
    "model": (Thought, TextPart, ToolCall),
    "tool": (ToolResult,),
}


@dataclass(frozen=True)
class Turn:
    """One turn: its role and its parts.

    A "tool" turn follows the "model" turn whose calls it answers; the model then continues.

    Attributes:
        interrupted: the model was stopped before it had ended.
        ids: of a model's turn, its tokens as they were drawn, since its text and calls alone may be
            tokenized otherwise: without what ends the turn, without its thought (but where it calls
            tools), after an empty thought that the prompt opened it with. Empty if not known.

    Raises:
        Gemma4Error: if the role is unknown or cannot hold such a part.
    """

    role: Role
    parts: tuple[Part, ...]
    interrupted: bool = False
    ids: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        allowed = _ALLOWED.get(self.role, ())
        for part in self.parts:
            if not isinstance(part, allowed):
                raise Gemma4Error(
                    "conversation_malformed",
                    "The conversation is malformed",
                    f"A {self.role} turn cannot hold a {type(part).__name__}.",
                    f"Allowed there: {', '.join(kind.__name__ for kind in allowed) or 'nothing'}.",
                )
