"""Pictures and sounds of a request -> parts of turns, bounded, each read once.

They are read in threads, so that a large picture keeps nobody else waiting.
"""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from ..chat.messages import ImagePart, SoundPart
from ..errors import Gemma4Error
from ..events import Thought, ToolCall
from ..media.audio import RATE, clips, frames, read_sound
from ..media.images import Picture, patches
from ..media.sound_files import announced
from ..runtime.commands import AddText, AddToolResult, PastPart, PastTurn
from ..runtime.reports import Loaded
from .errors import ApiError
from .fetch import fetch
from .fields import decoded
from .request import Media, RequestTurn

CACHE_BYTES = 256 << 20
"""The most bytes of media that are kept after they were read."""
MOST_MEDIA = 128
"""The most pictures and sounds of one request."""
MOST_SECONDS = 3_600
"""The most seconds of one sound."""

Parts = tuple[ImagePart | SoundPart, ...]


class MediaReader:
    """Reads media, and keeps those that were read last, up to CACHE_BYTES.

    Args:
        image_tokens: the most that a picture may take; None for the model's own number.
        fetches: whether pictures are fetched from public addresses.
    """

    def __init__(self, image_tokens: int | None = None, fetches: bool = False) -> None:
        self._image_tokens = image_tokens
        self._fetches = fetches
        self._threads = ThreadPoolExecutor(2, "media")
        self._lock = threading.Lock()
        self._read: OrderedDict[tuple[str, int | None], Parts] = OrderedDict()

    async def turns(self, turns: Sequence[RequestTurn], model: Loaded) -> tuple[PastTurn, ...]:
        """Read the media of turns, for a model.

        Raises:
            ApiError: one cannot be read, is not allowed, or the model cannot take it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._turns, turns, model)

    async def picture(self, medium: Media, model: Loaded) -> Picture:
        """Read a picture. Raises ApiError as `turns`."""
        loop = asyncio.get_running_loop()
        (part,) = await loop.run_in_executor(self._threads, self._media, medium, model)
        assert isinstance(part, ImagePart)
        return part.picture

    def _turns(self, turns: Sequence[RequestTurn], model: Loaded) -> tuple[PastTurn, ...]:
        count = sum(_count(part) for turn in turns for part in turn.parts)
        if count > MOST_MEDIA:
            raise ApiError(400, f"There are {count} pictures and sounds; {MOST_MEDIA} may be.")
        return tuple(
            PastTurn(turn.role, tuple(p for part in turn.parts for p in self._parts(part, model)))
            for turn in turns
        )

    def _parts(
        self, part: AddText | Media | AddToolResult | Thought | ToolCall, model: Loaded
    ) -> tuple[PastPart, ...]:
        match part:
            case Media():
                return self._media(part, model)
            case AddToolResult(call_id, list() | tuple() as content):
                read = [
                    one for piece in content
                    for one in (self._media(piece, model) if isinstance(piece, Media) else [piece])
                ]  # fmt: skip
                return (AddToolResult(call_id, read),)
        return (part,)

    def _media(self, medium: Media, model: Loaded) -> Parts:
        if not (model.sees if medium.kind == "image" else model.hears):
            what = "pictures" if medium.kind == "image" else "sound"
            raise ApiError(400, f"This model takes no {what}.", "medium_unsupported", medium.param)
        tokens = medium.tokens or self._image_tokens or model.image_tokens
        try:
            content = _content(medium, self._fetches)
            name = hashlib.sha256(content).hexdigest(), tokens
            with self._lock:
                if name in self._read:
                    self._read.move_to_end(name)
                    return self._read[name]
            made = _made(medium.kind, content, tokens)
        except Gemma4Error as error:
            raise ApiError(
                400, f"{error.title}. {error.cause} {error.remedy}", error.code, medium.param
            ) from error
        with self._lock:
            self._read[name] = made
            while sum(map(_bytes, self._read.values())) > CACHE_BYTES and len(self._read) > 1:
                self._read.popitem(last=False)
        return made


def _made(kind: str, content: bytes, tokens: int) -> Parts:
    if kind == "image":
        return (ImagePart(patches(content, tokens)),)
    made = clips(samples_of(content), long="split")
    return tuple(SoundPart(frames(clip)) for clip in made)


def samples_of(content: bytes, param: str | None = None) -> NDArray[np.float32]:
    """Decode a sound of at most MOST_SECONDS; one that announces more is not decoded.

    Raises:
        ApiError: it is longer; `param` is the field.
        Gemma4Error: it cannot be read.
    """
    if (announced(content) or 0.0) <= MOST_SECONDS:
        samples = read_sound(content).samples
        if len(samples) <= MOST_SECONDS * RATE:
            return samples
    raise ApiError(400, f"The sound is longer than {MOST_SECONDS} s.", "sound_too_long", param)


def _count(part: object) -> int:
    match part:
        case Media():
            return 1
        case AddToolResult(_, list() | tuple() as content):
            return sum(map(_count, content))
    return 0


def _bytes(parts: Parts) -> int:
    return sum(
        part.picture.patches.nbytes if isinstance(part, ImagePart) else part.frames.nbytes
        for part in parts
    )


def _content(medium: Media, fetches: bool) -> bytes:
    """Return the bytes of a medium that was sent, or of a picture that is fetched."""
    source = medium.source.strip()
    if medium.kind == "image":
        if fetches and source.lower().startswith(("http://", "https://")):
            return fetch(source, medium.param)
        if not source[:5].lower() == "data:":
            raise ApiError(
                400,
                "A picture must be a data URI (data:image/png;base64,...).",
                "image_url_not_allowed",
                medium.param,
            )
    if source[:5].lower() == "data:":
        head, comma, source = source.partition(",")
        if not comma:
            raise ApiError(400, "The data URI has no comma.", "invalid_request", medium.param)
        if not head.lower().endswith(";base64"):
            return unquote_to_bytes(source)
        source = unquote(source)
    try:
        return decoded(source)
    except ValueError as error:
        raise ApiError(
            400, f"The data is not base64 ({error}).", "invalid_request", medium.param
        ) from error
