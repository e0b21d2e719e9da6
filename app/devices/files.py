"""Files as terminals paste them when they are dropped: quoted, escaped, as URLs, or bare."""

import codecs
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlx_gemma4.media.kinds import look
from mlx_gemma4.media.sources import found

from ..state import Kind

# For a file whose content is not recognised: it is damaged, and opening it reports how.
_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".heic", ".heif", ".avif", ".jp2", ".ico"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"), "sound"),
    **dict.fromkeys((".m4a", ".aac", ".qta", ".caf", ".amr"), "sound"),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"), "video"),
}
TEXT_LIMIT = 1 << 20
"""Bytes of the longest text that is attached: four a token, it fills the context of the 12B."""


def pasted(text: str) -> list[Path]:
    """Read pasted text as paths of files that are there; nothing where it is anything else.

    Every path must be absolute or start with ~, and be a file: other text is never taken for one.
    """
    text = text.strip()
    if not text or len(text) > 10_000:
        return []
    for words in _readings(text):
        paths = [path for word in words if (path := _path(word)) is not None]
        if paths and len(paths) == len(words):
            return paths
    return []


def existing(names: Iterable[str]) -> list[Path]:
    """Return those of the names that are files."""
    paths = (found(Path(name)) for name in names)
    return [path for path in paths if path is not None and path.is_file()]


def kind(path: Path) -> Kind | None:
    """Find what a file is, by its content; None where it is nothing that a model can be given.

    Raises OSError where it cannot be read.
    """
    if (known := look(path)) is not None:
        return known.kind
    if (named := _SUFFIXES.get(path.suffix.lower())) is not None:
        return named
    with path.open("rb") as file:
        beginning = file.read(4096)
    try:
        # not final: a character may be cut at the end
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < 4096)
    except UnicodeDecodeError:
        return None
    return None if b"\0" in beginning else "text"


def _readings(text: str) -> Iterable[list[str]]:
    """Yield ways to cut it into words: one bare path, a line each, as a shell does."""
    yield [text]
    yield [line.strip() for line in text.splitlines() if line.strip()]
    try:
        yield shlex.split(text)
    except ValueError:  # a quote that is not closed
        return


def _path(word: str) -> Path | None:
    try:
        if word.startswith("file://"):
            word = unquote(urlsplit(word).path)
    except ValueError:  # a bracket that is not closed
        return None
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        word = word[1:-1]
    for spelling in (word, re.sub(r"\\(.)", r"\1", word)):
        if not spelling.startswith(("/", "~")):
            continue
        try:
            path = found(Path(spelling).expanduser())
            if path is not None and path.is_file():
                return path
        except (OSError, RuntimeError, ValueError):  # too long, no home, a null character
            continue
    return None
