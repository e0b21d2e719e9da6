"""Past turns as a session takes them, with their media read from files, each file once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from ..errors import Gemma4Error
from ..events import Thought, ToolCall
from ..media.audio import clips, frames, read_sound
from ..media.images import Picture, patches
from ..media.video import FRAME_TOKENS, Film, film_of
from ..model.config import Config
from ..session.pending_turn import checked, cut, tool_content
from ..session.transcriber import CLIP
from .commands import (
    AddImage,
    AddSound,
    AddText,
    AddToolResult,
    AddVideo,
    PastPart,
    PastTurn,
    Pictures,
)

MEDIA_BYTES = 256 << 20
"""The most bytes of media that are kept after they were read."""

MediaKey = tuple[Path, int, int, object]
"""A file, when it was written, its size, what it is read as: if one differs, it is read again."""
Made = TypeVar("Made", Picture, tuple[NDArray[np.float32], ...], tuple[tuple[float, Picture], ...])


class MediaCache:
    """Media as the model takes them; the ones used last are kept, up to MEDIA_BYTES."""

    def __init__(self) -> None:
        self._made: OrderedDict[MediaKey, Any] = OrderedDict()

    def image(self, image: Pictures, tokens: int) -> Picture:
        """Return a picture of at most so many tokens. Raises Gemma4Error as `patches` does."""
        if isinstance(image, Picture):
            return image
        return self._of(image, tokens, lambda: patches(image, tokens))

    def keep(self, image: Pictures, tokens: int, picture: Picture) -> None:
        """Keep a picture that was read elsewhere."""
        self._of(image, tokens, lambda: picture)

    def sound(self, path: str | Path) -> tuple[NDArray[np.float32], ...]:
        """Return a sound file's clips, (n, 640) frames each. Raises Gemma4Error as `read_sound`."""

        def read() -> tuple[NDArray[np.float32], ...]:
            samples = read_sound(path).samples
            return tuple(frames(clip) for clip in clips(samples, long="split"))

        return self._of(path, "sound", read)

    def video(self, video: str | Path | Film) -> tuple[tuple[float, Picture], ...]:
        """Return a video's frames with their times. Raises Gemma4Error as `film_of` does."""

        def read() -> tuple[tuple[float, Picture], ...]:
            return tuple((at, self.image(frame, FRAME_TOKENS)) for at, frame in film_of(video))

        return self._of(video, "video", read)

    def _of(self, source: object, kind: object, make: Callable[[], Made]) -> Made:
        if not isinstance(source, str | Path):
            return make()
        try:
            file = Path(source).stat()
        except (OSError, ValueError):  # a NUL in the path
            return make()
        key = Path(source).absolute(), file.st_mtime_ns, file.st_size, kind
        if key not in self._made:
            self._made[key] = make()
        self._made.move_to_end(key)
        found = cast(Made, self._made[key])
        while len(self._made) > 1 and sum(map(_bytes, self._made.values())) > MEDIA_BYTES:
            self._made.popitem(last=False)
        return found


def _bytes(made: Picture | tuple[Any, ...]) -> int:
    """Of a picture, of clips, or of a video's frames."""
    if isinstance(made, Picture):
        return made.patches.nbytes
    return sum(one.nbytes if isinstance(one, np.ndarray) else _bytes(one[1]) for one in made)


def turns_of(
    past: Sequence[PastTurn], media: MediaCache, config: Config, image_tokens: int
) -> tuple[list[Turn], list[str]]:
    """Return past turns as `Session.open` takes them.

    A medium that cannot be read any more, or that this model cannot take, is replaced by a text
    about that, which the model reads too: the conversation goes on without it.

    Args:
        image_tokens: of pictures that have no number of their own.

    Returns:
        The turns, and a sentence for each medium that is missing.

    Raises:
        Gemma4Error: a turn is malformed.
    """
    turns: list[Turn] = []
    missing: list[str] = []
    for one in past:
        results: list[ToolResult] = []
        parts: list[Part] = []
        for part in one.parts:
            added: list[PastPart] = [part]
            if isinstance(part, AddToolResult):
                response, pictures = tool_content(part.content)
                results.append(ToolResult(_name_of(part.call_id, turns), response, part.call_id))
                added = [one if isinstance(one, ImagePart) else AddImage(one) for one in pictures]
            for each in added:
                try:
                    _need(each, config)
                    parts += _parts(each, media, image_tokens)
                except Gemma4Error as error:
                    missing.append(f"{error.title}. {error.cause}")
                    parts.append(TextPart(f"[{error.title}]"))
        if results:
            turns.append(Turn("tool", tuple(results)))
        if parts or not results:
            turns.append(Turn(one.role, tuple(parts), one.interrupted, one.ids))
    return turns, missing


def _need(part: object, config: Config) -> None:
    sees, hears = config.vision_config is not None, config.audio_config is not None
    medium = "pictures" if isinstance(part, AddImage | AddVideo | ImagePart) else "sound"
    if isinstance(part, AddSound | SoundPart) and not hears or medium == "pictures" and not sees:
        raise Gemma4Error(
            "medium_unsupported",
            f"This model takes no {medium}",
            "An earlier turn has some.",
            "Go on without it, or use another model.",
        )


def _parts(part: object, media: MediaCache, image_tokens: int) -> list[Part]:
    match part:
        case AddText(text):
            return [TextPart(text)]
        case AddImage(image, tokens):
            return [ImagePart(media.image(image, tokens or image_tokens))]
        case AddSound(path):
            if isinstance(path, np.ndarray):
                return [SoundPart(clip) for clip in cut(checked(path), CLIP)]
            return [SoundPart(clip) for clip in media.sound(path)]
        case AddVideo(video):
            return [VideoPart(media.video(video))]
        case Thought() | ToolCall() | ImagePart() | SoundPart():
            return [part]
    raise Gemma4Error(
        "conversation_malformed",
        "The conversation is malformed",
        f"A past turn cannot hold a {type(part).__name__}.",
        "Use the commands that add to a turn, Thought and ToolCall.",
    )


def _name_of(call_id: str, turns: Sequence[Turn]) -> str:
    for turn in reversed(turns):
        for part in turn.parts:
            if isinstance(part, ToolCall) and part.id == call_id:
                return part.name
    raise Gemma4Error(
        "tool_call_unknown",
        "A tool result answers no call",
        f"No turn before it has a call {call_id!r}.",
        "Use the id of a ToolCall of an earlier turn.",
    )
