"""What was added to a conversation since the last reply, as plain data.

Knows nothing of MLX. A `PendingTurn` is never changed: a mark keeps it, and an error goes back to
it.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import IOBase
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from ..errors import Gemma4Error
from ..events import ToolCall
from ..media.audio import FRAME, Frames, need_frames, pause
from ..media.images import Picture
from ..model.config import unknown_setting

REACH = 125
"""Frames (5 s) before the end of a clip that is full, in which the pause is looked for.

Well below the rows that a cache can always drop for free: what comes after the pause goes back.
"""

_HELD: WeakValueDictionary[str, NDArray[Any]] = WeakValueDictionary()  # by digest


def no_frames() -> Frames:
    """(0, 640)."""
    return np.zeros((0, FRAME), np.float32)


@dataclass(frozen=True, eq=False)
class PendingTurn:
    """The user's turn while it is made, after the results of tools that were called.

    Attributes:
        results: what tools returned.
        parts: what was added, but for what follows.
        live: (n, 640) the clip that is being heard; more frames lengthen it.
        held: (n, 640) frames that wait to be heard after it.
        waiting: pictures for the next turn.
        relayed: whether sound is heard in the side context, and enters as text.
        heard: what was understood there of the clips that are finished.
        frames: how many were added in all.
    """

    results: tuple[ToolResult, ...] = ()
    parts: tuple[Part, ...] = ()
    live: Frames = field(default_factory=no_frames)
    held: Frames = field(default_factory=no_frames)
    waiting: tuple[Part, ...] = ()
    relayed: bool = False
    heard: str = ""
    frames: int = 0

    @property
    def sounds(self) -> tuple[SoundPart, ...]:
        """The clips that are not yet text, but for the frames that are held."""
        whole = tuple(part for part in self.parts if isinstance(part, SoundPart))
        return (*whole, SoundPart(self.live)) if len(self.live) else whole

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not (self.results or self.parts or self.heard or len(self.live) or len(self.held))

    def add(self, part: Part) -> Self:
        """Add a part. A sound ends the clip that is being heard."""
        if not isinstance(part, SoundPart):
            return replace(self, parts=(*self.parts, part))
        frames = self.frames + len(part.frames)
        return replace(self.closed(), parts=(*self.closed().parts, part), frames=frames)

    def hold(self, frames: Frames) -> Self:
        """Take frames to be heard later."""
        count = self.frames + len(frames)
        return replace(self, held=np.concatenate([self.held, frames]), frames=count)

    def hear(self, limit: int) -> Self:
        """Hear what is held; a clip that passes `limit` frames is cut at a pause."""
        *whole, live = cut(np.concatenate([self.live, self.held]), limit)
        parts = (*self.parts, *map(SoundPart, whole))
        return replace(self, parts=parts, live=live, held=no_frames())

    def closed(self) -> Self:
        """End the clip that is being heard."""
        clip = np.concatenate([self.live, self.held])
        ended = (SoundPart(clip),) if len(clip) else ()
        return replace(self, parts=(*self.parts, *ended), live=no_frames(), held=no_frames())

    def answered(self, call: ToolCall, response: object, calls: Sequence[ToolCall]) -> Self:
        """Add what a tool returned; results are in the order of the calls."""
        results = {result.id: result for result in self.results}
        results[call.id] = ToolResult(call.name, response, call.id)
        in_order = tuple(results[one.id] for one in calls if one.id in results)
        return replace(self, results=in_order)

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The results and the user's turn, as far as the conversation has them."""
        parts = self.parts
        if self.relayed:
            parts = tuple(part for part in parts if not isinstance(part, SoundPart))
            parts = (*parts, TextPart(self.heard)) if self.heard else parts
        elif len(self.live):
            parts = (*parts, SoundPart(self.live))
        results = (Turn("tool", self.results),) if self.results else ()
        return (*results, Turn("user", parts)) if parts else results


def held_once(part: Part) -> Part:
    """Return the part; its patches or frames are in memory once, however often they are added."""

    def once(picture: Picture) -> Picture:
        patches = _HELD.setdefault(picture.digest, picture.patches)
        return picture if patches is picture.patches else replace(picture, patches=patches)

    match part:
        case ImagePart(picture) if (held := once(picture)) is not picture:
            return ImagePart(held)
        case VideoPart(frames):
            return VideoPart(tuple((seconds, once(picture)) for seconds, picture in frames))
        case SoundPart(frames) if (known := _HELD.setdefault(part.digest, frames)) is not frames:
            return SoundPart(known)
    return part


def listed(name: str, values: Any, kind: type = object) -> tuple[Any, ...]:
    """An argument's values; one may be alone. Raises Gemma4Error where one is of another type."""
    alone = isinstance(values, str) or not isinstance(values, Iterable)
    found = (values,) if alone else tuple(values)
    if not all(isinstance(one, kind) for one in found):
        raise unknown_setting(name, values, f"a list of {kind.__name__}")
    return found


def checked(frames: ArrayLike) -> Frames:
    """Frames (n, 640) as float32. Raises Gemma4Error if there are none, or they are not usable."""
    try:
        clip = np.array(frames, np.float32)  # the caller's own may change
    except (TypeError, ValueError) as error:
        raise _frames_malformed(f"They are no numbers: {error}.") from error
    need_frames(clip)
    if not np.isfinite(clip).all():
        raise _frames_malformed("Some are NaN or infinite.")
    return clip


def _frames_malformed(cause: str) -> Gemma4Error:
    title, remedy = "The frames are not usable", "Look at what made them."
    return Gemma4Error("frames_malformed", title, cause, remedy)


_PICTURES = (
    *(Pillow.Image, np.ndarray, Picture, ImagePart),
    *(Path, bytes, bytearray, memoryview, IOBase),
)
"""What `add_image` takes, but for a str, which is text here; and what a turn holds."""


def tool_content(content: str | Mapping[str, Any] | Sequence[Any]) -> tuple[Any, list[Any]]:
    """A tool's response, and its pictures. Raises Gemma4Error where a part is something else."""
    if isinstance(content, str):
        return content, []
    if isinstance(content, Mapping):
        try:
            return json.loads(json.dumps(dict(content))), []
        except (TypeError, ValueError, RecursionError) as error:
            raise _result_malformed(
                f"It is not JSON: {error}.", "Use text, numbers, lists and objects in it."
            ) from error
    texts, pictures = [], []
    for part in [content] if isinstance(content, _PICTURES) else listed("content", content):
        match part:
            case str(text) | {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image", "image": picture} | ImagePart(picture):
                pictures.append(picture)
            case _ if isinstance(part, _PICTURES):
                pictures.append(part)
            case _:
                raise _result_malformed(
                    f"A part of it is {str(part)[:80]!r}.",
                    'Use text, {"type": "text", "text": ...}, pictures, or {"type": "image", '
                    '"image": ...}.',
                )
    return "\n".join(texts), pictures


def _result_malformed(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("tool_result_malformed", "The tool result is malformed", cause, remedy)


def cut(clip: Frames, limit: int) -> list[Frames]:
    """Cut frames (n, 640) into clips of at most `limit`, each at a pause near its end."""
    clips = []
    while len(clip) > limit:
        stop = max(pause(clip[:limit], max(limit - REACH, limit // 2)), 1)
        clips.append(clip[:stop])
        clip = clip[stop:]
    return [*clips, clip]


def shortened(
    turns: Sequence[Turn], last_stays: bool, free: Callable[[Sequence[Turn]], int], wanted: int
) -> list[Turn]:
    """Drop the oldest questions, each with all that answers it, until enough rows are free.

    System turns stay. What the user adds to a question or to a tool's results belongs to it.

    Args:
        last_stays: never drop the last question.
        free: counts the rows that some turns leave free.
        wanted: as many rows as should be free.

    Returns:
        The other turns; all turns where no row would be free without them either.
    """
    before = [None, *(turn.role for turn in turns)]
    user = [number for number, turn in enumerate(turns) if turn.role == "user"]
    asked = [number for number in user if before[number] not in ("user", "tool")] or [len(turns)]

    def without(stop: int) -> list[Turn]:
        kept = [turn for turn in turns[asked[0] : stop] if turn.role == "system"]
        return [*turns[: asked[0]], *kept, *turns[stop:]]

    stops = [*asked, len(turns)]
    if last_stays:
        stops.pop()
    # rendering takes long: half of the places are left out each time
    at = bisect_left(stops, wanted, key=lambda stop: free(without(stop)))
    fewer = without(stops[min(at, len(stops) - 1)])
    return fewer if free(fewer) > 0 else list(turns)


def medium_name(part: Part) -> str:
    names = {ImagePart: "picture", VideoPart: "video", SoundPart: "sound"}
    return names.get(type(part), "text")
