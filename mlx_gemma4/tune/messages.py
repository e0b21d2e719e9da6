"""The messages of a line -> turns, checked: whatever is wrong names its place, cause and remedy."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..chat.messages import (
    ImagePart,
    Part,
    SoundPart,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
    VideoPart,
)
from ..chat.tokenizer import CONTROLS
from ..chat.tools import is_tool
from ..errors import Gemma4Error
from ..json_reader import is_deep
from ..media.audio import LIMIT_SECONDS, clips, frames, read_sound
from ..media.images import patches
from ..media.video import FRAME_TOKENS, film_of
from ..model.config import Config
from .sources import MEDIA, Line, unusable

ROLES = {"system": "system", "user": "user", "assistant": "model", "model": "model", "tool": "tool"}
_FOLLOWS = {  # a role -> those that may come before it; None is the start
    "system": (None,),
    "user": (None, "system", "model"),
    "model": ("user", "tool"),
    "tool": ("model", "tool"),
}
_CONTROL = re.compile("|".join(map(re.escape, CONTROLS)))


class LineReader:
    """Reads lines for a model.

    Args:
        config: what the model can see and hear.
        image_tokens: the most tokens of a picture.

    Attributes:
        notes: what was done with the media of the line that was read last.
    """

    def __init__(self, config: Config, image_tokens: int) -> None:
        self.notes: list[str] = []
        self._config = config
        self._image_tokens = image_tokens

    def turns(self, line: Line) -> tuple[list[Turn], Sequence[Mapping[str, Any]]]:
        """Read a line's messages, with the content of their media, and its tools.

        Raises:
            Gemma4Error: it cannot be learned from.
        """
        self.notes = []
        try:
            return self._turns(line), self._tools(line)
        except Gemma4Error as error:
            if error.code == "data_unusable":
                raise
            raise unusable(line.place, error.cause, error.remedy) from error

    def _tools(self, line: Line) -> Sequence[Mapping[str, Any]]:
        tools = line.content.get("tools") or ()
        if not isinstance(tools, Sequence) or not all(map(is_tool, tools)):
            raise unusable(
                line.place,
                'Its "tools" are no list of functions with a name and a schema.',
                'Write [{"type": "function", "function": {"name": ..., "parameters": ...}}].',
            )
        return tools

    def _turns(self, line: Line) -> list[Turn]:
        messages = line.content.get("messages")
        if unknown := sorted(set(line.content) - {"messages", "tools"}):
            raise unusable(line.place, f"It has {unknown[0]!r}.", "Keep messages and tools only.")
        if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
            raise unusable(
                line.place,
                'It has no "messages", or they are no list of objects.',
                'Write [{"role": "user", "content": ...}, {"role": "assistant", ...}].',
            )
        result: list[Turn] = []
        names: dict[str, str] = {}  # of the tools that were called, by the calls' ids
        before = None
        for number, message in enumerate(messages, 1):
            role = ROLES.get(str(message.get("role")))
            if role is None or before not in _FOLLOWS[role]:
                raise unusable(
                    line.place,
                    f"Message {number} is from {message.get('role')!r}"
                    f"{f' after {before}' if before else ''}.",
                    "Let user and assistant take turns, after a system message if there is one, "
                    f"with tool messages after calls. The roles are {', '.join(ROLES)}.",
                )
            parts = self._message(line, number, role, message, names)
            if role == "tool" and before == "tool":
                parts = (*result.pop().parts, *parts)
            result.append(Turn(role, parts))  # type: ignore[arg-type]
            before = role
        if before != "model":
            raise unusable(
                line.place,
                "It has no answer: the last message is not from the assistant.",
                'End with {"role": "assistant", "content": ...}.',
            )
        return result

    def _message(
        self,
        line: Line,
        number: int,
        role: str,
        message: Mapping[str, Any],
        names: dict[str, str],
    ) -> tuple[Part, ...]:
        where = f"{line.place}, message {number}"
        content = message.get("content")
        if content is None or isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        if not isinstance(content, list):
            raise unusable(where, "Its content is neither text nor a list of parts.", "Write text.")
        if role == "tool":
            call_id = str(message.get("tool_call_id", ""))
            if call_id not in names:
                raise unusable(where, f"No call has the id {call_id!r}.", "Keep the call.")
            text = "".join(_text(part, where) for part in content)
            return (ToolResult(names[call_id], text, call_id),)
        parts: list[Part] = [self._part(line, part, where) for part in content]
        if role == "model" and not all(isinstance(part, TextPart) for part in parts):
            raise unusable(
                where,
                "An answer holds a medium.",
                "Write text: the model answers with nothing else.",
            )
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise unusable(where, '"tool_calls" is no list.', "Write a list of calls.")
        if calls and role != "model":
            raise unusable(where, f"A {role} calls no tools.", "Move them to the assistant.")
        parts += [_call(call, where) for call in calls]
        names.update({part.id: part.name for part in parts if isinstance(part, ToolCall)})
        wanted = [p for p in parts if not isinstance(p, TextPart) or p.text.strip()]
        if not wanted:
            what = "The answer is empty" if role == "model" else "It is empty"
            raise unusable(where, f"{what}.", "Write its content, or leave the line out.")
        return tuple(wanted)

    def _part(self, line: Line, part: Any, where: str) -> Part:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            return TextPart(_text(part, where))
        given = part.get("path") if isinstance(part, dict) else None
        if kind not in MEDIA or not isinstance(given, str) or "\0" in given:
            raise unusable(
                where,
                f"A part is {part!r:.80}.",
                'Write {"type": "text", "text": ...} or {"type": "image", "path": ...}; audio and '
                "video as image.",
            )
        path = line.file(given)
        medium = "sound" if kind == "audio" else "pictures"
        config = self._config
        if (config.audio_config if kind == "audio" else config.vision_config) is None:
            raise unusable(
                where,
                f"It has {path.name}, and this model has no weights for {medium}.",
                "Use a model folder with them, or leave the line out.",
            )
        notes: list[str] = []
        try:
            medium_part = self._medium(kind, path, notes)
        except Gemma4Error as error:
            remedy = error.remedy
            if error.code == "sound_too_long":
                remedy = "Cut it, and write a line for each piece."
            raise unusable(where, f"{given:.80}: {error.cause:.300}", remedy) from error
        self.notes += [f"{where}: {given:.80}: {note}" for note in notes]
        return medium_part

    def _medium(self, kind: str, path: Path, notes: list[str]) -> Part:
        if kind == "image":
            picture = patches(path, self._image_tokens)
            notes += picture.notes
            return ImagePart(picture)
        if kind == "video":
            film = film_of(path, notes.append)
            return VideoPart(tuple((time, patches(one, FRAME_TOKENS)) for time, one in film))
        recording = read_sound(path)
        notes += recording.notes
        (clip,) = clips(recording.samples, LIMIT_SECONDS)
        return SoundPart(frames(clip))


def _text(part: Any, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise unusable(
            where, f"A text part is {part!r:.80}.", 'Write {"type": "text", "text": ..}.'
        )
    if found := _CONTROL.search(text):
        raise unusable(
            where,
            f"Its text spells the control token {found[0]}.",
            "Write what was said only: turns and media get their control tokens from the messages.",
        )
    return text


def _call(call: Any, where: str) -> ToolCall:
    try:
        function = call["function"]
        arguments = function["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
            if is_deep(arguments):
                raise ValueError("they are nested too deeply")
        return ToolCall(str(call.get("id", "")), str(function["name"]), dict(arguments))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise unusable(
            where,
            f"A tool call has no name or no JSON arguments ({error}).",
            'Write {"id": ..., "function": {"name": ..., "arguments": {...}}}.',
        ) from error
