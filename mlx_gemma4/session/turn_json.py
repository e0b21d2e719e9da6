"""Turns and drafts as JSON; their arrays go elsewhere, by name. Knows nothing of MLX or files."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from ..events import Thought, ToolCall
from ..media.images import Picture
from .pending_turn import Draft

Array = NDArray[Any]
Put = Callable[[Array], str]
"""Stores an array and gives its name."""
Get = Callable[[str], Array]
"""Gives the array of a name."""


def turn_to_json(turn: Turn, put: Put) -> dict[str, Any]:
    """Write a turn down."""
    return {
        "role": turn.role,
        "parts": [_to_json(part, put) for part in turn.parts],
        "interrupted": turn.interrupted,
        "ids": list(turn.ids),
    }


def turn_from_json(value: dict[str, Any], get: Get) -> Turn:
    """Read a turn. Raises KeyError, TypeError or ValueError where it is none."""
    parts = tuple(_from_json(part, get) for part in value["parts"])
    return Turn(value["role"], parts, bool(value["interrupted"]), tuple(value["ids"]))


def draft_to_json(draft: Draft, put: Put) -> dict[str, Any]:
    """Write a draft down."""
    return {
        "parts": [_to_json(part, put) for part in draft.parts],
        "live": put(draft.live),
        "held": put(draft.held),
        "waiting": [_to_json(part, put) for part in draft.waiting],
        "relayed": draft.relayed,
        "heard": draft.heard,
        "frames": draft.frames,
    }


def draft_from_json(value: dict[str, Any], get: Get) -> Draft:
    """Read a draft; errors as in `turn_from_json`."""
    return Draft(
        parts=tuple(_from_json(part, get) for part in value["parts"]),
        live=get(value["live"]),
        held=get(value["held"]),
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
        case SoundPart(frames):
            return {"sound": put(frames)}
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
            return ToolCall(str(value.get("id", "")), name, arguments)
        case {"result": str(name), "response": response}:
            return ToolResult(name, response, str(value.get("id", "")))
        case {"sound": str(name)}:
            return SoundPart(get(name))
        case {"image": dict(picture)}:
            return ImagePart(_picture_from_json(picture, get))
        case {"video": list(frames)}:
            return VideoPart(tuple((float(at), _picture_from_json(one, get)) for at, one in frames))
    raise ValueError(f"no part of a turn: {value}")


def _picture_to_json(picture: Picture, put: Put) -> dict[str, Any]:
    return {
        "patches": put(picture.patches),
        "positions": picture.positions.tolist(),
        "size": list(picture.size),
        "original": list(picture.original),
        "notes": list(picture.notes),
    }


def _picture_from_json(value: dict[str, Any], get: Get) -> Picture:
    return Picture(
        get(value["patches"]),
        np.array(value["positions"], np.int32),
        (value["size"][0], value["size"][1]),
        (value["original"][0], value["original"][1]),
        tuple(value["notes"]),
    )
