"""Messages as in OpenAI's chat completions -> turns, and what is still to be answered.

https://platform.openai.com/docs/api-reference/chat/create: roles system (or developer), user,
assistant and tool; content is text or a list of parts. Nothing is fetched over a network.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL import Image

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn
from ..errors import Gemma4Error
from ..events import ToolCall
from ..media.audio import Recording, clips, frames, read_sound
from ..media.images import open_image, patches
from .pending_turn import tool_content

Message = Mapping[str, Any]
Piece = str | Image.Image | Recording
"""A part of a message, read: text, a picture or a sound."""


def split(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """Return the messages up to the last answer, and those after it, which are to be answered.

    Raises Gemma4Error where there are none.
    """
    if not isinstance(messages, Sequence) or not all(isinstance(one, Mapping) for one in messages):
        raise _malformed(
            "they are not a list of objects", 'Use [{"role": "user", "content": ...}].'
        )
    after = len(messages)
    while after and messages[after - 1].get("role") in ("user", "tool"):
        after -= 1
    if after == len(messages):
        raise _malformed("the last message is not from user or tool", "End with a question.")
    return messages[:after], messages[after:]


def turns(messages: Sequence[Message], image_tokens: int) -> list[Turn]:
    """Make turns of messages; those of one role that follow each other become one turn.

    Pictures of tools follow all results, as in `Session.add_tool_result`.

    Args:
        image_tokens: the most tokens that a picture may take.

    Raises:
        Gemma4Error: a message is malformed, or a picture or sound cannot be read.
    """
    result: list[Turn] = []
    names: dict[str, str] = {}  # of the tools that were called, by the calls' ids
    shown: list[Part] = []  # what tools returned beside text

    def add(role: Any, parts: Iterable[Part]) -> None:
        before = result.pop().parts if result and result[-1].role == role else ()
        result.append(Turn(role, (*before, *parts)))

    for message in messages:
        role = _role(message)
        if role != "tool" and shown:
            add("user", shown)
            shown = []
        add(role, _parts(message, image_tokens, names, shown))
    if shown:
        add("user", shown)
    return result


def content(message: Message) -> list[Piece]:
    """Read the parts of a message's content; errors as in `turns`."""
    given = message.get("content")
    if given is None or isinstance(given, str):
        return [given] if given else []
    if not isinstance(given, Sequence):
        raise _malformed(f"the content is a {type(given).__name__}", "Use text or a list of parts.")
    return [_piece(part) for part in given]


def _role(message: Message) -> Any:
    roles = {"developer": "system", "assistant": "model"}
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise _malformed(f"a role is {role!r}", "Use system, user, assistant or tool.")
    return roles.get(role, role)


def _parts(
    message: Message, image_tokens: int, names: dict[str, str], shown: list[Part]
) -> tuple[Part, ...]:
    pieces = content(message)
    if message["role"] == "tool":
        call_id = str(message.get("tool_call_id", ""))
        if call_id not in names:
            raise _malformed(f"no call has the id {call_id!r}", "Keep the message that called.")
        text, pictures = tool_content(pieces)
        shown += [ImagePart(patches(picture, image_tokens)) for picture in pictures]
        return (ToolResult(names[call_id], text, call_id),)
    result: list[Part] = []
    for piece in pieces:
        if isinstance(piece, str):
            result.append(TextPart(piece))
        elif isinstance(piece, Recording):
            result += [SoundPart(frames(clip)) for clip in clips(piece.samples)]
        else:
            result.append(ImagePart(patches(piece, image_tokens)))
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence):
        raise _malformed(f"the tool_calls are a {type(calls).__name__}", "Use a list of calls.")
    for call in calls:
        made = _call(call)
        names[made.id] = made.name
        result.append(made)
    return tuple(result)


def _call(call: Any) -> ToolCall:
    try:
        function = call["function"]
        arguments = function["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        return ToolCall(str(call["id"]), str(function["name"]), dict(arguments))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _malformed(
            f"a tool call has no id, name or JSON arguments ({error!r})", "Repeat it as it came."
        ) from error


def _piece(part: Any) -> Piece:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": (str() | Path()) as url}:
            return _picture(str(url))
        case {"type": "image_url", "image_url": {"url": (str() | Path()) as url}}:
            return _picture(str(url))
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return read_sound(_decoded(data))
        case {"type": "text" | "image_url" | "input_audio" as kind}:
            cause = f"a part of type {kind} lacks {kind!r}, or that holds no text"
            raise _malformed(cause, "See the API's reference.")
    kind = part.get("type") if isinstance(part, Mapping) else None
    raise _malformed(f"a part has the type {kind!r}", "Use text, image_url or input_audio.")


def _picture(url: str) -> Image.Image:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _malformed(f"a picture has no usable URL ({error})", "Send a data URI.") from error
    if parts.scheme == "data":
        return open_image(_decoded(url.partition(",")[2]))
    if parts.scheme in ("http", "https"):
        raise _malformed("a picture is on the network", "Send it as a data URI, or name a file.")
    return open_image(Path(unquote(parts.path)) if parts.scheme == "file" else Path(url))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # of binascii, or a letter beyond ASCII
        raise _malformed(f"some data is not base64 ({error})", "Encode it again.") from error


def _malformed(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error(
        "messages_malformed",
        "The messages cannot be used",
        f"{cause[0].upper()}{cause[1:]}.",
        remedy,
    )
