"""What a worker reports, as plain data: each `Report` names the command that an event answers.

Knows nothing of MLX. The events of a reply are those of `events.py`; the others are here.
"""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..cluster.hosts import HOST_CODES as HOST_CODES
from ..cluster.hosts import Sending as Sending
from ..errors import Gemma4Error
from ..events import Event


@dataclass(frozen=True)
class Loaded:
    """A model is loaded; conversations with it can be opened.

    Attributes:
        model: its folder.
        context: the most tokens of a conversation.
        image_tokens: the most tokens of a picture, by default.
    """

    model: str
    seconds: float
    context: int
    sees: bool
    hears: bool
    image_tokens: int = 280


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
class Rereading:
    """A conversation was opened of which so many tokens are in no cache: they are read next."""

    tokens: int


@dataclass(frozen=True)
class Reading:
    """How much of a prompt has been read, in tokens; after `Rereading`, how much of the turns."""

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
    """The machine reads slower than is spoken: the rest is held and read at the end of speech."""

    speed: float
    """Seconds of sound that it reads in a second."""


@dataclass(frozen=True)
class Figures:
    """How much of the context and of the memory a conversation takes.

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
    """A command failed; or, as a report of no command, work that nobody asked for.

    Attributes are those of `Gemma4Error`, and:
        details: for the log, where the program has a defect: its traceback.
    """

    code: str
    title: str
    cause: str
    remedy: str
    details: str = ""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> "Failed":
        """Report an error as it is, or as a defect of the program with its traceback."""
        if isinstance(error, Gemma4Error):
            return cls(error.code, error.title, error.cause, error.remedy, facts=error.facts)
        cause = f"{type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
        remedy = "Report it, with the log of the program."
        return cls("internal_error", "The program has a defect", cause, remedy, details)

    def error(self) -> Gemma4Error:
        """Return the same as an exception."""
        return Gemma4Error(self.code, self.title, self.cause, self.remedy, self.facts)


@dataclass(frozen=True)
class Crashed(Failed):
    """The worker's process ended by itself; what its conversations held is read again."""


@dataclass(frozen=True)
class Finished:
    """A command is carried out; no more reports follow for it."""


@dataclass(frozen=True)
class Idle:
    """Nothing is left to do: every command is carried out, and idle work too."""


@dataclass(frozen=True)
class Closed:
    """The worker has ended; this is its last report."""


WorkerEvent = (
    Loaded | Sending | ImageAdded | Noted | Rereading | Reading | Hearing | FellBehind | Figures
    | Failed | Crashed | Finished | Idle | Closed
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """One thing that a worker reports.

    Attributes:
        command: the id of the command that it answers, from `Client.send`; None where it answers
            none. Each command's last report is `Finished` or `Failed`.
        event: what happened.
        conversation: in which; None where it concerns the worker itself.
        time: when it happened, on `time.perf_counter` of this machine.
    """

    command: int | None
    event: Event | WorkerEvent
    conversation: str | None = None
    time: float = field(default_factory=time.perf_counter)
