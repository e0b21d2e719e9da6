"""What was added to a conversation since the last reply, and the turns before it, as plain data.

Knows nothing of MLX. A `Draft` is never changed: a mark keeps it, and an error goes back to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, Turn, VideoPart
from ..errors import Gemma4Error
from ..media.audio import FRAME, RATE, need_frames, pause

Frames = NDArray[np.float32]

REACH = 125
"""Frames (5 s) before the end of a clip that is full, in which the pause is looked for.

Well below the rows that a cache can always drop for free: what lies after the pause goes back.
"""


def _none() -> Frames:
    return np.zeros((0, FRAME), np.float32)


@dataclass(frozen=True, eq=False)
class Draft:
    """The user's turn while it is being made.

    Attributes:
        parts: what was added, but for what follows.
        live: (n, 640) the clip that is being heard; more frames lengthen it.
        held: (n, 640) frames that wait to be heard after it.
        waiting: pictures for the next turn.
        relayed: whether sound is heard in the side context, and enters as text.
        heard: what was understood there of the clips that are finished.
        frames: how many were added in all.
    """

    parts: tuple[Part, ...] = ()
    live: Frames = field(default_factory=_none)
    held: Frames = field(default_factory=_none)
    waiting: tuple[Part, ...] = ()
    relayed: bool = False
    heard: str = ""
    frames: int = 0

    @property
    def seconds(self) -> float:
        """How long the sound is that was added."""
        return self.frames * FRAME / RATE

    @property
    def sounds(self) -> tuple[SoundPart, ...]:
        """The clips that are not yet text, but for the frames that are held."""
        whole = tuple(part for part in self.parts if isinstance(part, SoundPart))
        return (*whole, SoundPart(self.live)) if len(self.live) else whole

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not (self.parts or self.heard or len(self.live) or len(self.held))

    def add(self, part: Part) -> Draft:
        """Add a part. A sound ends the clip that is being heard."""
        if not isinstance(part, SoundPart):
            return replace(self, parts=(*self.parts, part))
        frames = self.frames + len(part.frames)
        return replace(self.closed(), parts=(*self.closed().parts, part), frames=frames)

    def hold(self, frames: Frames) -> Draft:
        """Take frames to be heard later."""
        count = self.frames + len(frames)
        return replace(self, held=np.concatenate([self.held, frames]), frames=count)

    def hear(self, limit: int) -> Draft:
        """Hear what is held; a clip that passes `limit` frames is cut at a pause."""
        *whole, live = cut(np.concatenate([self.live, self.held]), limit)
        parts = (*self.parts, *map(SoundPart, whole))
        return replace(self, parts=parts, live=live, held=_none())

    def closed(self) -> Draft:
        """End the clip that is being heard."""
        clip = np.concatenate([self.live, self.held])
        ended = (SoundPart(clip),) if len(clip) else ()
        return replace(self, parts=(*self.parts, *ended), live=_none(), held=_none())

    def turn(self) -> Turn | None:
        """The user's turn as far as the conversation has it; None if that is nothing."""
        parts = self.parts
        if self.relayed:
            parts = tuple(part for part in parts if not isinstance(part, SoundPart))
            parts = (*parts, TextPart(self.heard)) if self.heard else parts
        elif len(self.live):
            parts = (*parts, SoundPart(self.live))
        return Turn("user", parts) if parts else None


def checked(frames: ArrayLike) -> Frames:
    """Frames (n, 640) as float32. Raises Gemma4Error if there are none, or they are not usable."""
    clip = np.asarray(frames, np.float32)
    need_frames(clip)
    if not np.isfinite(clip).all():
        raise Gemma4Error(
            "frames_malformed",
            "The frames are not usable",
            "Some are NaN or infinite.",
            "Look at what made them.",
        )
    return clip


def cut(clip: Frames, limit: int) -> list[Frames]:
    """Cut frames (n, 640) into clips of at most `limit`, each at a pause near its end."""
    clips = []
    while len(clip) > limit:
        stop = max(pause(clip[:limit], max(limit - REACH, limit // 2)), 1)
        clips.append(clip[:stop])
        clip = clip[stop:]
    return [*clips, clip]


def without_oldest(turns: Sequence[Turn]) -> list[Turn]:
    """Drop the oldest question and all that answers it; a system turn stays.

    Returns:
        The other turns; as many as before if there was no question.
    """
    asked = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if not asked:
        return list(turns)
    stop = asked[1] if len(asked) > 1 else len(turns)
    return [*turns[: asked[0]], *turns[stop:]]


def medium_name(part: Part) -> str:
    """What a person calls it."""
    names = {ImagePart: "picture", VideoPart: "video", SoundPart: "sound"}
    return names.get(type(part), "text")
