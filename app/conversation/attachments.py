"""Makes an attachment of a picture or a file: checks it, measures it, and stores it in the journal.

Encoding and reading take up to half a second: call these in a thread.
`ConversationController.attach` takes the result, and numbers it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import LIMIT_SECONDS, seconds_of
from mlx_gemma4.media.images import BUDGETS, open_image
from mlx_gemma4.media.sources import open_file

from ..devices import files
from ..devices.screen import CLIPBOARD, Shot, screen_tokens
from ..settings import Settings
from ..state import Kind
from .journal import Journal


@dataclass(frozen=True)
class Ready:
    """What is stored and can be attached; the fields are those of `entries.Attachment`.

    Attributes:
        note: a sentence that the user may want to know.
    """

    kind: Kind
    file: str
    name: str
    size: tuple[int, int] | None = None
    seconds: float = 0.0
    budget: int | None = None
    note: str = ""
    frames: tuple[tuple[float, str], ...] = ()


def shot(
    journal: Journal, taken: Shot, settings: Settings, budgets: Sequence[int] = BUDGETS
) -> Ready:
    """Store a picture of the screen or the clipboard; `budgets` are those that the model knows."""
    content = BytesIO()
    taken.image.convert("RGB").save(content, "PNG", compress_level=1)  # 4 times as fast as 6
    name = journal.put(content.getvalue(), ".png")
    size = taken.image.size
    budget = settings.image_tokens
    if taken.name != CLIPBOARD:
        budget = screen_tokens(size, settings.screen_tokens, budgets)
    return Ready("image", name, taken.name, size, budget=budget, note=taken.note)


def pasted_text(journal: Journal, text: str) -> Ready:
    """Store a text that is too long for the prompt.

    Raises:
        Gemma4Error: it is longer than a text file may be.
    """
    content = text.encode()
    if len(content) > files.TEXT_LIMIT:
        raise _too_long("Pasted text", len(content))
    return Ready("text", journal.put(content, ".txt"), f"Pasted text, {len(content) / 1000:.0f} kB")


def file(journal: Journal, path: Path, settings: Settings) -> Ready:
    """Store a file. A video is not copied: it stays where it is.

    Raises:
        Gemma4Error: it cannot be read, or is nothing that a model can be given.
    """
    with open_file(path, partial(_unreadable, path.name)) as opened:
        path = Path(opened.name)
    called = path.name.encode(errors="replace").decode()  # it may be no UTF-8,
    called = " ".join(called.split()) or "file"  # or have line feeds, which would break its chip
    suffix = Path(called).suffix.lower()
    kind = files.kind(path)
    if kind == "image":
        image: Image.Image = open_image(path)
        name = journal.put(path.read_bytes(), suffix)
        return Ready(kind, name, called, image.size, budget=settings.image_tokens)
    if kind == "sound":
        seconds = seconds_of(path)
        note = ""
        if seconds > LIMIT_SECONDS:
            note = f"{called} lasts {seconds:.0f} s: it is heard as clips of at most 30 s."
        name = journal.put(path.read_bytes(), suffix)
        return Ready(kind, name, called, seconds=seconds, note=note)
    if kind == "video":
        return Ready(kind, str(path.resolve()), called)
    if kind == "text":
        if (size := path.stat().st_size) > files.TEXT_LIMIT:
            raise _too_long(called, size)
        return Ready(kind, journal.put(path.read_bytes(), ".txt"), called)
    cause = "It is neither a picture, nor a sound, a video or a text in UTF-8."
    raise _unreadable(called, cause, "Choose another file.")


def _too_long(name: str, size: int) -> Gemma4Error:
    cause = f"It has {size:,} bytes; a text may have {files.TEXT_LIMIT:,}."
    return _unreadable(name, cause, "Attach a part of it.")


def _unreadable(name: str, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("file_not_attachable", f"{name} cannot be attached", cause, remedy)
