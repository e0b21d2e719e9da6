"""Pictures and sounds of a request -> parts of turns, bounded, each read once.

Reading is done in threads: a large picture keeps nobody else waiting.
"""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, unquote_to_bytes

from ..chat.messages import ImagePart, SoundPart
from ..errors import Gemma4Error
from ..events import Thought, ToolCall
from ..media.audio import RATE, clips, frames, read_sound
from ..media.images import Picture, patches
from ..runtime.commands import AddText, AddToolResult, PastPart, PastTurn
from ..runtime.reports import Loaded
from .errors import ApiError
from .fetch import fetch
from .fields import decoded
from .request import Media, RequestTurn

CACHE_BYTES = 256 << 20
"""The most bytes of media that are kept after they were read."""
MOST_MEDIA = 128
"""Pictures and sounds of one request."""
MOST_SECONDS = 3_600
"""Seconds of all its sounds together."""

Parts = tuple[ImagePart | SoundPart, ...]


class MediaReader:
    """Reads media, and keeps what was read last.

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
        media = [part for turn in turns for part in turn.parts if isinstance(part, Media)]
        if len(media) > MOST_MEDIA:
            raise ApiError(400, f"There are {len(media)} pictures and sounds; {MOST_MEDIA} may be.")
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
    samples = read_sound(content).samples
    if len(samples) > MOST_SECONDS * RATE:
        raise ApiError(400, f"The sound is longer than {MOST_SECONDS} s.", "sound_too_long")
    return tuple(SoundPart(frames(clip)) for clip in clips(samples, long="split"))


def _bytes(parts: Parts) -> int:
    return sum(
        part.picture.patches.nbytes if isinstance(part, ImagePart) else part.frames.nbytes
        for part in parts
    )


def _content(medium: Media, fetches: bool) -> bytes:
    """The bytes of a medium that was sent, or of a picture that has to be fetched."""
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
