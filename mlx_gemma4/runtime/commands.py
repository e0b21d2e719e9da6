"""What a worker can be asked to do, as plain data that travels between threads and processes.

Knows nothing of MLX. `reports.py` has what a worker reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..chat.messages import ImagePart, SoundPart
from ..cluster.hosts import Hosts as Hosts
from ..events import Thought, ToolCall
from ..media.images import Picture
from ..media.sources import Source
from ..media.video import Film

MAIN = "main"
"""The conversation of commands that name none."""
SLOTS = 8
"""The most conversations that can be open at once, by default."""
PARK_BYTES = 4 << 30
"""The most bytes on disk that parked conversations take together, by default."""

Pictures = Source | Pillow.Image | NDArray[np.generic] | Picture
"""A picture: its file, its pixels, or as the model sees it."""


@dataclass(frozen=True)
class SessionSettings:
    """How a conversation is held: the arguments of `Session` of the same names, and three more.

    Attributes:
        park: the folder in which KV rows are parked when a conversation is idle or closed; None
            parks nothing.
        park_bytes: the most bytes that all conversations parked there may take.
        live: somebody may speak at any time: while it is open, others are read in short chunks.
    """

    system: str | None = None
    image_tokens: int | None = None
    hearing: Literal["auto", "direct", "relay"] = "auto"
    kv_bits: int | None = None
    thinking: bool = False
    when_full: Literal["stop", "drop"] = "stop"
    context: int | None = None
    park: str | Path | None = None
    park_bytes: int = PARK_BYTES
    live: bool = False


@dataclass(frozen=True)
class Load:
    """Load a model; every conversation with another one is closed.

    Attributes are the arguments of `mlx_gemma4.load` of the same names, and two more:
        slots: the most conversations whose rows are held, open or kept.
        grammars: build what `Reply.grammar` needs now, in a thread, instead of with the first one.
    """

    model: str | Path
    force: bool = False
    slots: int = SLOTS
    grammars: bool = False
    hosts: Hosts | None = None
    drafter: str | Path | None = None
    draft: str | int = "auto"


@dataclass(frozen=True, kw_only=True, eq=False)
class InConversation:
    """A command to one conversation; the commands to one are carried out in their order."""

    conversation: str = MAIN


@dataclass(frozen=True)
class AddText(InConversation):
    """Add text to what the next reply answers."""

    text: str


@dataclass(frozen=True, eq=False)
class AddImage(InConversation):
    """Add a picture; reported as `ImageAdded`. Also while somebody speaks, see `events.Moved`.

    Attributes:
        image_tokens: the most that this picture may take; None for what the settings have.
    """

    image: Pictures
    image_tokens: int | None = None


@dataclass(frozen=True, eq=False)
class AddSound(InConversation):
    """Add a sound; a longer one than the model's limit is split at its pauses.

    Attributes:
        path: its file; or (n, 640) frames, as `Hear` brings them.
    """

    path: str | Path | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AddVideo(InConversation):
    """Add a video: a file, or its frames with their times, as `Session.add_video` takes them."""

    video: str | Path | Film


@dataclass(frozen=True, eq=False)
class AddToolResult(InConversation):
    """Add what a tool returned for a `ToolCall` of this id, as `Session.add_tool_result` does."""

    call_id: str
    content: str | Mapping[str, Any] | Sequence[Any]


PastPart = (
    AddText | AddImage | AddSound | AddVideo | AddToolResult | ImagePart | SoundPart
    | Thought | ToolCall
)  # fmt: skip
"""A part of a past turn: a command that adds to a turn, a medium as the model takes it, or what the
model drew besides text."""


@dataclass(frozen=True, eq=False)
class PastTurn:
    """A turn that a conversation holds already.

    Attributes:
        role: "system" comes first; a result of a tool belongs to a turn of the user.
        parts: in order. The `conversation` of each is ignored.
        ids: of a model's turn, `Done.ids` of the reply: they spare reading it again.
        interrupted: the reply was cancelled before it ended.
    """

    role: Literal["system", "user", "model"]
    parts: tuple[PastPart, ...]
    ids: tuple[int, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, eq=False)
class Open(InConversation):
    """Open a conversation with these turns.

    If it is open, these turns replace its own, and what was added since the last reply is gone.
    Whatever its caches hold of the new turns is kept: a turn that is taken back, edited or
    answered again costs nothing. The rest is read as soon as there is nothing else to do
    (`Rereading`, then `Reading`); `Stop` puts that off until the next reply.

    Attributes:
        read_ahead: False puts it off from the start: a reply is asked for at once.
    """

    turns: tuple[PastTurn, ...] = ()
    settings: SessionSettings = SessionSettings()
    tools: tuple[Mapping[str, Any], ...] = ()
    read_ahead: bool = True


@dataclass(frozen=True)
class Close(InConversation):
    """Close a conversation, park its rows where the settings name a folder, free its memory.

    Attributes:
        keep: its rows stay until their room is needed, for a conversation that starts alike, under
            whatever name; they are parked then.
    """

    keep: bool = False


@dataclass(frozen=True)
class Park(InConversation):
    """Park the rows of a conversation now, where the settings name a folder."""


@dataclass(frozen=True, eq=False)
class Hear(InConversation):
    """Sound as it is spoken: (n, 640) frames of 16 kHz.

    The first frames start an utterance, and all its frames have one id. They are read while they
    come, and `Hearing` reports how far that is.
    """

    frames: NDArray[np.float32]


@dataclass(frozen=True)
class EndSpeech(InConversation):
    """The utterance is over. What of it is not read yet is read with the reply's prompt."""


@dataclass(frozen=True)
class Reply(InConversation):
    """Answer what was added since the last reply; arguments are those of `Session.replying`."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    heard: bool = False
    grammar: Mapping[str, Any] | None = None
    must_call: tuple[str, ...] = ()
    may_call: bool = True
    stop: tuple[str, ...] = ()
    likeliest: int | None = None
    presence: float = 0.0
    frequency: float = 0.0


@dataclass(frozen=True, eq=False)
class Transcribe(InConversation):
    """Transcribe (n, 640) frames beside the conversation, which stays as it is; see `Heard`."""

    frames: NDArray[np.float32]


@dataclass(frozen=True)
class Stop(InConversation):
    """Cancel what was asked of this conversation before, within one token or chunk.

    What was answered until then stays in the conversation.
    """


@dataclass(frozen=True)
class Discard(InConversation):
    """Remove what was added since the last reply: a cancelled recording, noise."""


Command = (
    Load | Open | Close | Park | AddText | AddImage | AddSound | AddVideo | AddToolResult
    | Hear | EndSpeech | Reply | Transcribe | Stop | Discard
)  # fmt: skip
