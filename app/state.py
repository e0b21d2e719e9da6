"""What the program does now, as data: the state, the usage, the recording, what went wrong."""

import logging
from dataclasses import dataclass
from typing import Literal

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub.progress import Progress
from mlx_gemma4.runtime.reports import Failed

_log = logging.getLogger(__name__)

State = Literal[
    "empty", "loading", "ready", "reading", "listening", "thinking", "answering", "speaking"
]
"""What the program does; "empty": no model is there."""
Kind = Literal["image", "sound", "video", "text"]
"""Of an attachment."""
Source = Literal[
    "",
    "model",
    "answer",
    "disk",
    "microphone",
    "screen",
    "file",
    "voice",
    "job",
    "parking",
    "export",
    "server",
]
"""What a problem is about."""
ScreenArea = Literal["region", "window", "screen"]
"""What of the screen a picture shows."""


@dataclass(frozen=True)
class Usage:
    """What the conversation takes up.

    Attributes:
        used: tokens of the context that are used.
        context: the most there can be; 0 where it is not known.
        cache_bytes: of the KV cache.
        active_bytes: all that the model takes.
        peak_bytes: the most that it took.
        speed: tokens a second of the last answer; 0 where there was none.
        read: tokens of the prompt that have been read, while it thinks.
        to_read: all tokens of that prompt.
    """

    used: int = 0
    context: int = 0
    cache_bytes: int = 0
    active_bytes: int = 0
    peak_bytes: int = 0
    speed: float = 0.0
    read: int = 0
    to_read: int = 0


@dataclass(frozen=True)
class RecordingState:
    """What is being recorded.

    Attributes:
        seconds: of the clip that is being recorded.
        clip: which clip of this turn it is, from 1.
        heard: seconds of the whole that the model has read.
        behind: seconds that came and are not read yet.
    """

    seconds: float = 0.0
    clip: int = 1
    heard: float = 0.0
    behind: float = 0.0


@dataclass(frozen=True)
class Download:
    """How far a model is on its way here.

    Attributes:
        name: of the model.
        stage: what is done now: "starting", "download", "quantize" or "check".
        progress: of the whole download, in bytes.
        share: of the weights that are quantized, from 0 to 1.
    """

    name: str
    stage: str = "starting"
    progress: Progress = Progress(0, 0, 0.0)
    share: float = 0.0

    @property
    def words(self) -> str:
        """All of it, in a line."""
        if self.stage == "quantize":
            return f"Quantizing {self.name}: {self.share:.0%} of what has come."
        if self.stage == "check":
            return f"Checking {self.name}."
        return f"Downloading {self.name}: {self.progress.text}"

    @property
    def brief(self) -> str:
        """The same for the line on top: ↓ 41 %, 85 MB/s, 2:16 left."""
        total = self.progress.total
        percent = f"{100 * self.progress.done // total} %" if total else "…"
        if self.stage in ("quantize", "check"):
            return f"↓ {percent} · {self.stage}"
        left = self.progress.seconds_left
        time_left = "" if left is None else f" · {int(left) // 60}:{int(left) % 60:02} left"
        rate = f" · {self.progress.rate / 1e6:.0f} MB/s" if self.progress.rate else ""
        return f"↓ {percent}{rate}{time_left}"


@dataclass(frozen=True)
class Problem:
    """Something that went wrong, or that is offered, for a card: one card a code.

    Attributes:
        code: what failed, for programs (`Gemma4Error.code`).
        title: what failed, in a few words.
        cause: why.
        remedy: what to do next.
        link: a page of System Settings where it can be changed; empty where there is none.
        source: what it is about: when that works again, its cards are withdrawn.
        model: the model that it is about, where another one would do or it can be brought; the
            conversation of an offer to resume it.
        good: it is an offer: nothing went wrong.
    """

    code: str
    title: str
    cause: str
    remedy: str
    link: str = ""
    source: Source = ""
    model: str = ""
    good: bool = False

    @property
    def words(self) -> str:
        return f"{self.title}. {self.cause} {self.remedy}"

    @classmethod
    def of(cls, error: Exception | Failed, source: Source = "") -> "Problem":
        if isinstance(error, Gemma4Error | Failed):
            link = getattr(error, "link", "")
            model = str(getattr(error, "facts", {}).get("repo", ""))
            return cls(error.code, error.title, error.cause, error.remedy, link, source, model)
        code = "disk_failed" if isinstance(error, OSError) else "internal_error"
        text = str(error) or type(error).__name__
        remedy = "The log (F12) may have more."
        _log.warning("A problem is shown", exc_info=error)
        return cls(code, "That did not work", f"{text.removesuffix('.')}.", remedy, source=source)
