"""Turns as JSON; their media go elsewhere, by name. Knows nothing of MLX or files."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from ..events import Thought, ToolCall
from ..media.audio import FRAME
from ..media.images import Picture
from .pending_turn import PendingTurn, no_frames

Array = NDArray[Any]
Put = Callable[[Picture | SoundPart], str]
"""Stores a medium and returns its name."""
Get = Callable[[str], Array | Picture]
"""Returns the medium of a name: a sound's frames, a picture without its sizes."""


def turn_to_json(turn: Turn, put: Put) -> dict[str, Any]:
    return {
        "role": turn.role,
        "parts": [_to_json(part, put) for part in turn.parts],
        "interrupted": turn.interrupted,
        "ids": list(turn.ids),
    }


def turn_from_json(value: dict[str, Any], get: Get) -> Turn:
    """Read a turn. Raises KeyError, TypeError or ValueError where it is none."""
    parts = tuple(_from_json(part, get) for part in value["parts"])
    ids = tuple(value["ids"])
    if not all(type(token_id) is int for token_id in ids):
        raise ValueError(f"the ids of a turn are {value['ids']!r}")
    return Turn(value["role"], parts, bool(value["interrupted"]), ids)


def pending_to_json(pending: PendingTurn, put: Put) -> dict[str, Any]:
    return {
        "results": [_to_json(result, put) for result in pending.results],
        "parts": [_to_json(part, put) for part in pending.parts],
        "live": put(SoundPart(pending.live)) if len(pending.live) else None,
        "held": put(SoundPart(pending.held)) if len(pending.held) else None,
        "waiting": [_to_json(part, put) for part in pending.waiting],
        "relayed": pending.relayed,
        "heard": pending.heard,
        "frames": pending.frames,
    }


def pending_from_json(value: dict[str, Any], get: Get) -> PendingTurn:
    """Read a pending turn; errors as in `turn_from_json`."""
    results = [_from_json(result, get) for result in value["results"]]
    return PendingTurn(
        results=tuple(result for result in results if isinstance(result, ToolResult)),
        parts=tuple(_from_json(part, get) for part in value["parts"]),
        live=_frames(value["live"], get),
        held=_frames(value["held"], get),
        waiting=tuple(_from_json(part, get) for part in value["waiting"]),
        relayed=bool(value["relayed"]),
        heard=str(value["heard"]),
        frames=int(value["frames"]),
    )


def _to_json(part: Part, put: Put) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"text": text}
        case Thought(text):
            return {"thought": text}
        case ToolCall(call_id, name, arguments):
            return {"call": name, "arguments": arguments, "id": call_id}
        case ToolResult(name, response, call_id):
            return {"result": name, "response": response, "id": call_id}
        case SoundPart():
            return {"sound": put(part)}
        case ImagePart(picture):
            return {"image": _picture_to_json(picture, put)}
        case VideoPart(frames):
            return {"video": [[at, _picture_to_json(picture, put)] for at, picture in frames]}


def _from_json(value: dict[str, Any], get: Get) -> Part:
    match value:
        case {"text": str(text)}:
            return TextPart(text)
        case {"thought": str(text)}:
            return Thought(text)
        case {"call": str(name), "arguments": dict(arguments)}:
            return ToolCall(str(value["id"]), name, arguments)
        case {"result": str(name), "response": response}:
            return ToolResult(name, response, str(value["id"]))
        case {"sound": str(name)}:
            return SoundPart(_frames(name, get))
        case {"image": dict(picture)}:
            return ImagePart(_picture_from_json(picture, get))
        case {"video": list(frames)}:
            return VideoPart(tuple((float(at), _picture_from_json(one, get)) for at, one in frames))
    raise ValueError(f"no part of a turn: {value}")


def _frames(name: str | None, get: Get) -> NDArray[np.float32]:
    frames = no_frames() if name is None else get(name)
    if isinstance(frames, Picture) or frames.shape[1] != FRAME:
        raise ValueError(f"{name} is no sound")
    return frames.astype(np.float32)


def _picture_to_json(picture: Picture, put: Put) -> dict[str, Any]:
    return {
        "file": put(picture),
        "size": list(picture.size),
        "original": list(picture.original),
        "notes": list(picture.notes),
    }


def _picture_from_json(value: dict[str, Any], get: Get) -> Picture:
    stored = get(value["file"])
    if not isinstance(stored, Picture):
        raise ValueError(f"{value['file']} is no picture")
    size, original = ((int(w), int(h)) for w, h in (value["size"], value["original"]))
    return Picture(
        stored.patches, stored.positions, size, original, tuple(map(str, value["notes"]))
    )
