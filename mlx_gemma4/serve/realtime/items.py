"""Items of a Realtime conversation, and their parts for a worker. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...events import ToolCall
from ...media.audio import FRAME
from ...media.images import Picture
from ...runtime.commands import AddImage, AddSound, AddText, AddToolResult
from ..fields import ROLES
from ..fields import arguments as called_with
from ..request import Role
from .refusals import as_refusal, refused
from .sound_input import Resampler, pcm_of

Frames = NDArray[np.float32]
ReadPicture = Callable[[str, str], AddImage]
"""Reads the URL of a picture; the second argument is the field that an error names."""

ItemPart = AddText | AddImage | AddSound | AddToolResult | ToolCall


@dataclass(frozen=True, eq=False)
class RealtimeItem:
    """An item: a message, a call of a tool, or what a tool returned.

    Attributes:
        role: whose turn it belongs to. A tool's result belongs to the user's.
        parts: what is sent to the worker.
        shown: the item as events show it; sound and pictures are left out, as clients have them.
        milliseconds: of an answer that was spoken: how long its sound is.
    """

    id: str
    role: Role
    parts: tuple[ItemPart, ...]
    shown: dict[str, Any] = field(default_factory=dict)
    milliseconds: int = 0

    @property
    def speech(self) -> Frames:
        """The sound in it, (n, 640); n may be 0."""
        clips = [part.path for part in self.parts if isinstance(part, AddSound)]
        found = [clip for clip in clips if isinstance(clip, np.ndarray)]
        return np.concatenate([np.zeros((0, FRAME), np.float32), *found])

    @property
    def picture_tokens(self) -> int:
        pictures = [part.image for part in self.parts if isinstance(part, AddImage)]
        return sum(len(one.patches) for one in pictures if isinstance(one, Picture))


def spoken_item(item_id: str, frames: Frames) -> RealtimeItem:
    """Make the item of what a user said."""
    content = [{"type": "input_audio", "transcript": None}]
    shown = shown_item(item_id, type="message", role="user", content=content)
    return RealtimeItem(item_id, "user", (AddSound(frames),), shown)


def shown_item(item_id: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    """Return an item as events show it."""
    return {"id": item_id, "object": "realtime.item", "status": status, **more}


def heard_as(item: RealtimeItem, text: str, relayed: bool) -> RealtimeItem:
    """Return the item with its transcript.

    Args:
        relayed: the conversation holds it instead of the sound.
    """
    content = [
        {**part, "transcript": text} if part["type"] == "input_audio" else part
        for part in item.shown["content"]
    ]
    parts = item.parts
    if relayed:
        words = (AddText(text),) if text else ()
        parts = (*(part for part in parts if not isinstance(part, AddSound)), *words)
    return replace(item, parts=parts, shown={**item.shown, "content": content})


def truncated(item: RealtimeItem, milliseconds: int) -> RealtimeItem:
    """Cut an answer to the text of its first milliseconds, as only these were played.

    The voice has no times for its words: the text is cut in proportion, after a whole word.

    Raises:
        Gemma4Error: the item is no spoken answer, or is shorter.
    """
    if item.role != "model" or not item.milliseconds:
        raise refused(
            "invalid_value",
            f"The item {item.id} has no spoken answer.",
            "Truncate a spoken answer of the model.",
            "item_id",
        )
    if not 0 <= milliseconds <= item.milliseconds:
        raise refused(
            "invalid_value",
            f"audio_end_ms is {milliseconds}, and the answer has {item.milliseconds} ms.",
            "Send a place within it.",
            "audio_end_ms",
        )
    text = "".join(part.text for part in item.parts if isinstance(part, AddText))
    end = len(text) * milliseconds // item.milliseconds
    while 0 < end < len(text) and not text[end].isspace():
        end -= 1
    kept = text[:end].rstrip()
    content = [{**part, "transcript": kept} for part in item.shown["content"]]
    return replace(
        item,
        parts=(AddText(kept),) if kept else (),
        shown={**item.shown, "content": content},
        milliseconds=milliseconds,
    )


def created(item: object, item_id: str, read_picture: ReadPicture) -> RealtimeItem:
    """Make the item of a `conversation.item.create`.

    Args:
        item: as the client sent it.
        item_id: used where the client chose none.
        read_picture: reads pictures.

    Raises:
        Gemma4Error: it is malformed, or of a kind that is not known; `facts["param"]` names where.
    """
    if not isinstance(item, dict):
        raise refused("invalid_value", "The event has no item.", "Send an object.", "item")
    item_id = str(item.get("id") or item_id)
    if item.get("type") is None and "role" in item:
        item = {**item, "type": "message"}
    shown = shown_item(item_id)
    match item:
        case {"type": "message", "role": "user" | "system" | "developer" | "assistant" as role}:
            role = "system" if role == "developer" else role
            content = item.get("content")
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            content = [content] if isinstance(content, dict) else content
            parts, shown_content = _content(content, role, read_picture)
            shown |= {"type": "message", "role": role, "content": shown_content}
            return RealtimeItem(item_id, ROLES[role], parts, shown)
        case {"type": "function_call", "name": str(name), "arguments": str() | None as arguments}:
            call_id = str(item.get("call_id") or f"call_{item_id}")
            arguments = arguments or "{}"
            with as_refusal():
                call = ToolCall(call_id, name, called_with(arguments, "item.arguments"))
            shown |= {"type": "function_call", "call_id": call_id, "name": name}
            return RealtimeItem(item_id, "model", (call,), shown | {"arguments": arguments})
        case {"type": "function_call_output", "call_id": str(call_id), "output": output}:
            output = _output(output)
            shown |= {"type": "function_call_output", "call_id": call_id, "output": output}
            return RealtimeItem(item_id, "user", (AddToolResult(call_id, output),), shown)
    raise refused(
        "invalid_value",
        f"An item of type {item.get('type')!r} is not known, or lacks a field.",
        "Send a message with role and content, a function_call, or a function_call_output.",
        "item",
    )


def tool_calls(items: Iterable[RealtimeItem]) -> list[ToolCall]:
    return [part for item in items for part in item.parts if isinstance(part, ToolCall)]


def _content(
    content: object, role: str, read_picture: ReadPicture
) -> tuple[tuple[ItemPart, ...], list[dict[str, Any]]]:
    """Return the parts of a message, and how events show them."""
    if not isinstance(content, list) or not content:
        raise refused(
            "invalid_value", "The message has no content.", "Send a list of parts.", "item.content"
        )
    parts: list[ItemPart] = []
    shown: list[dict[str, Any]] = []
    for number, part in enumerate(content):
        where = f"item.content[{number}]"
        match role, part:
            case "user" | "system", {"type": "input_text" | "text", "text": str(text)}:
                parts.append(AddText(text))
                shown.append({"type": "input_text", "text": text})
            case "assistant", {"type": "output_text" | "input_text" | "text", "text": str(text)}:
                parts.append(AddText(text))
                shown.append({"type": "output_text", "text": text})
            case "assistant", {"type": "output_audio", "transcript": str(text)}:
                parts.append(AddText(text))
                shown.append({"type": "output_audio", "transcript": text})
            case "user", {"type": "input_audio", "audio": audio}:
                parts.append(AddSound(_frames(audio, f"{where}.audio")))
                transcript = part.get("transcript")
                shown.append({"type": "input_audio", "transcript": transcript})
            case "user", {"type": "input_image", "image_url": str(url)}:
                parts.append(read_picture(url, f"{where}.image_url"))
                shown.append({"type": "input_image", "detail": part.get("detail") or "auto"})
            case _:
                kind = part.get("type") if isinstance(part, dict) else part
                raise refused(
                    "invalid_value",
                    f"A message of {role} cannot hold {str(kind)[:80]!r}.",
                    "Send input_text, input_audio and input_image from a user, input_text from a "
                    "system, and output_text from an assistant.",
                    where,
                )
    if role != "system" and not any(not isinstance(p, AddText) or p.text for p in parts):
        parts = []
    return tuple(parts), shown


def _frames(audio: object, param: str) -> Frames:
    resampler = Resampler()
    frames = np.concatenate([resampler.add(pcm_of(audio, param)), resampler.end()])
    if not len(frames):
        raise refused("invalid_value", "The sound is empty.", "Send some sound.", param)
    return frames


def _output(output: object) -> str:
    """Return what a tool returned as one text: it may come in parts."""
    parts = [{"text": ""}] if output is None else output
    if isinstance(parts, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(map(str, texts))
    if not isinstance(output, str):
        raise refused("invalid_value", "The output is no text.", "Send a text.", "item.output")
    return output
