"""What an engine tells, as plain data: each `Report` says which command an event answers.

Knows nothing of MLX. The events of a reply are those of `events.py`; the others are here.
"""

import time
import traceback
from dataclasses import dataclass, field

from ..errors import Gemma4Error
from ..events import Event


@dataclass(frozen=True)
class Loaded:
    """A model is there, and a conversation with it has begun.

    Attributes:
        model: its folder.
        seconds: how long it took.
        context: the most tokens of a conversation.
        sees: whether it takes pictures.
        hears: whether it takes sound.
    """

    model: str
    seconds: float
    context: int
    sees: bool
    hears: bool


@dataclass(frozen=True)
class ImageAdded:
    """A picture as the model sees it; sizes are (width, height) in pixels."""

    original: tuple[int, int]
    size: tuple[int, int]
    tokens: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noted:
    """A sentence about what was added that the user may want to know."""

    text: str


@dataclass(frozen=True)
class Reading:
    """How much of a reply's prompt has been read, in tokens."""

    done: int
    total: int


@dataclass(frozen=True)
class Hearing:
    """How far an utterance has been read; in seconds of sound, but for `frames`.

    Attributes:
        heard: read or held so far.
        backlog: what came and is neither.
        frames: in the chunk that was read just now; 0 where frames were only held.
        took: how long that chunk took, in seconds.
    """

    heard: float
    backlog: float
    frames: int = 0
    took: float = 0.0


@dataclass(frozen=True)
class FellBehind:
    """The machine reads slower than is spoken: the rest is held and read at the end of speech.

    Attributes:
        speed: seconds of sound that it reads in a second.
    """

    speed: float


@dataclass(frozen=True)
class Marked:
    """A place was marked; `Rewind` and `Forget` take the number."""

    mark: int


@dataclass(frozen=True)
class Figures:
    """What the conversation takes up.

    Attributes:
        used: tokens in the conversation's rows.
        context: the most there can be.
        cache_bytes: of the KV caches.
        active_bytes: all that MLX holds.
        peak_bytes: the most that it held.
    """

    used: int
    context: int
    cache_bytes: int
    active_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Failed:
    """A command could not be done; or, as a report of no command, the engine itself has ended.

    Attributes:
        code: what failed, for programs (`Gemma4Error.code`).
        title: what failed, in a few words.
        cause: why.
        remedy: what to do next.
        details: for the log, where the program has a defect: its traceback.
    """

    code: str
    title: str
    cause: str
    remedy: str
    details: str = ""

    @classmethod
    def by(cls, error: Exception) -> "Failed":
        """Tell an error as it is, or that the program has a defect."""
        if isinstance(error, Gemma4Error):
            return cls(error.code, error.title, error.cause, error.remedy)
        cause = f"{type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
        remedy = "Report it, with the log of the program."
        return cls("internal_error", "The engine met a defect", cause, remedy, details)

    def error(self) -> Gemma4Error:
        """The same as an exception."""
        return Gemma4Error(self.code, self.title, self.cause, self.remedy)


@dataclass(frozen=True)
class Crashed(Failed):
    """The engine's process ended by itself; its conversation is lost but for what was saved."""


@dataclass(frozen=True)
class Finished:
    """A command is done; nothing more comes of it."""


@dataclass(frozen=True)
class Idle:
    """Nothing is left to do: every command is done, and deferred work too."""


@dataclass(frozen=True)
class Closed:
    """The engine has ended; this is its last report."""


EngineEvent = (
    Loaded | ImageAdded | Noted | Reading | Hearing | FellBehind | Marked | Figures
    | Failed | Crashed | Finished | Idle | Closed
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """One thing an engine tells.

    Attributes:
        command: the id of the command that it answers, from `Port.send`; None where it answers
            none. Each command's last report is `Finished` or `Failed`.
        event: what is told.
        time: when it happened, on `time.perf_counter` of this machine.
    """

    command: int | None
    event: Event | EngineEvent
    time: float = field(default_factory=time.perf_counter)
