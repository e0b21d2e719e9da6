"""Where a picture, a sound or a video comes from: a file, or its bytes in memory."""

import io
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import Gemma4Error

Source = str | Path | bytes | bytearray | memoryview | BinaryIO
"""A file by its path, its content, or the file itself, open for reading bytes."""

Unreadable = Callable[[str, str], Gemma4Error]
"""Makes the error of a source from its cause and its remedy."""


def unreadable(medium: str, name: str) -> Unreadable:
    """Make errors for a medium ("picture", "sound" or "video") of this name."""
    title = f"The {medium} {name} cannot be read" if name else f"The {medium} cannot be read"
    return lambda cause, remedy: Gemma4Error(f"{medium}_unreadable", title, cause, remedy)


def name_of(source: Source) -> str:
    """Name a source as the user knows it; empty for bytes."""
    if isinstance(source, str | Path):
        return Path(source).name
    name = getattr(source, "name", "")
    return Path(name).name if isinstance(name, str) else ""


@contextmanager
def opened(source: Source, fail: Unreadable) -> Iterator[BinaryIO]:
    """Open a source at its start; a file that was open before stays open.

    Raises the Gemma4Error of `fail` where it is missing, empty, or may not be read.
    """
    if isinstance(source, str | Path):
        file = open_file(source, fail)
    elif isinstance(source, bytes | bytearray | memoryview):
        file = io.BytesIO(source)
    elif hasattr(source, "read") and hasattr(source, "seek"):
        file = source
    else:
        raise fail(
            f"Its type is {type(source).__name__}.",
            "Use a path, the bytes of a file, or a file that is open for reading bytes.",
        )
    try:
        file.seek(0)
        beginning = file.read(1)
        file.seek(0)
    except (OSError, ValueError) as error:
        cause = f"It cannot be read from its beginning ({error})."
        raise fail(cause, "Pass its bytes, or open it again.") from error
    if not isinstance(beginning, bytes):
        raise fail("It is open for text.", 'Open it for reading bytes, with open(path, "rb").')
    if not beginning:
        raise fail("The file is empty (0 bytes).", "Save it again.")
    try:
        yield file
    finally:
        if file is not source:
            file.close()


def open_file(source: str | Path, fail: Unreadable) -> BinaryIO:
    """Open a file; its `name` is the path by which it was found.

    Raises the Gemma4Error of `fail` where it is missing, no ordinary file, or may not be read.
    """
    path = found(Path(source))
    try:
        if path is None or path.is_dir():
            what = ": it is a folder" if path is not None else ""
            raise fail(f"There is no file {source}{what}.", "Check the path.")
        if not path.is_file():  # reading a pipe or a device may never end
            raise fail(f"{source} is no ordinary file.", "Copy its content into a file.")
        return path.open("rb")
    except OSError as error:
        cause = f"{source}: {error.strerror}."
        raise fail(cause, "Check the path and its permissions.") from error


def found(path: Path) -> Path | None:
    """Find a file, also where its name is written with other blanks than it has.

    macOS puts a narrow space (U+202F) into the names of screenshots; pasted, it is often a plain
    one. A name is taken where it is the only one that fits.
    """
    try:
        if path.exists():
            return path
        if path.parent == path:
            return None
        folder = found(path.parent)
        if folder is None:
            return None
        wanted = folded(path.name)
        alike = [inner for inner in folder.iterdir() if folded(inner.name) == wanted]
    except (OSError, ValueError, RuntimeError):  # no folder, too long, a null character
        return None
    return alike[0] if len(alike) == 1 else None


def folded(name: str) -> str:
    """A name with every blank as a plain one, and letters with their accents."""
    blanks = "".join(" " if unicodedata.category(c) == "Zs" else c for c in name)
    return unicodedata.normalize("NFC", blanks)
