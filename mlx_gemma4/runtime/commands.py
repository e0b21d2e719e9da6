"""What an engine can be told, as plain data that travels between threads and processes.

Knows nothing of MLX. `reports.py` has what an engine answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..media.video import Film


@dataclass(frozen=True)
class Settings:
    """How conversations are held: the arguments of `Session` of the same names."""

    system: str | None = None
    image_tokens: int | None = None
    hearing: Literal["auto", "direct", "relay"] = "auto"
    kv_bits: int | None = None
    thinking: bool = False
    when_full: Literal["stop", "drop"] = "stop"


@dataclass(frozen=True)
class Load:
    """Load a model and begin a conversation with it.

    Attributes:
        model: a folder, or a name of Package.toml.
        force: load it even if it does not fit into the memory.
    """

    model: str | Path
    settings: Settings = Settings()
    force: bool = False


@dataclass(frozen=True)
class New:
    """Begin a new conversation with the same model; None keeps the settings."""

    settings: Settings | None = None


@dataclass(frozen=True)
class AddText:
    """Add words to what the next reply answers."""

    text: str


@dataclass(frozen=True, eq=False)
class AddImage:
    """Add a picture. Answered by `ImageAdded`; also while somebody speaks, see `events.Moved`.

    Attributes:
        image_tokens: the most that this picture may take; None for what the settings say.
    """

    image: str | Path | Pillow.Image | NDArray[np.generic]
    image_tokens: int | None = None


@dataclass(frozen=True)
class AddSound:
    """Add a sound file; a longer one than the model's limit is split at its pauses."""

    path: str | Path


@dataclass(frozen=True, eq=False)
class AddVideo:
    """Add a video: a file, or its frames with their times, as `Session.add_video` takes them."""

    video: str | Path | Film


@dataclass(frozen=True, eq=False)
class Hear:
    """Sound as it is spoken: (n, 640) frames of 16 kHz.

    The first frames begin an utterance, and all its frames have one id. They are read while they
    come, and `Hearing` tells how far that is.
    """

    frames: NDArray[np.float32]


@dataclass(frozen=True)
class EndSpeech:
    """The utterance is over. What of it is not read yet is read with the reply's prompt."""


@dataclass(frozen=True)
class Reply:
    """Answer what was added since the last reply; the arguments are those of `Session.reply`."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    heard: bool = False


@dataclass(frozen=True)
class Stop:
    """Stop whatever was asked before this, within one token or chunk; what was said stays."""


@dataclass(frozen=True)
class Discard:
    """Forget what was added since the last reply: a cancelled recording, noise."""


@dataclass(frozen=True)
class Mark:
    """Remember this place in the conversation. Answered by `Marked`."""


@dataclass(frozen=True)
class Rewind:
    """Go back to a place that was marked, as if nothing had come after it."""

    mark: int


@dataclass(frozen=True)
class Forget:
    """Let go of a mark, and of the memory that it holds on to."""

    mark: int


@dataclass(frozen=True)
class Save:
    """Save the conversation, with what the model has read (`cache`) or the turns alone."""

    path: str | Path
    cache: bool = True


@dataclass(frozen=True)
class Restore:
    """Go on with a saved conversation, on the model that is loaded."""

    path: str | Path


Command = (
    Load | New | AddText | AddImage | AddSound | AddVideo | Hear | EndSpeech | Reply | Stop
    | Discard | Mark | Rewind | Forget | Save | Restore
)  # fmt: skip
