"""JSON objects of a model folder, read with bounds, and their values with types.

Every error is a `Gemma4Error` that names the file, and the key where there is one.
"""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import limits
from .errors import Gemma4Error


def unusable(cause: str, remedy: str = "Download or convert the model again.") -> Gemma4Error:
    return Gemma4Error("config_unusable", "The model's config cannot be used", cause, remedy)


def short(value: object) -> str:
    """Write a value for an error, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes; raise Gemma4Error where that is impossible."""
    if there(path) and not (path.is_file() or path.is_dir()):  # a pipe may never end
        raise unusable(f"{path} cannot be read: it is no ordinary file.")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > most:
        raise unusable(f"{path} has more than {most:,} bytes.")
    return content


def there(path: Path) -> bool:
    """Whether it exists. Raises Gemma4Error where that cannot be known."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise _unreadable(path, error) from error


def is_folder(path: Path) -> bool:
    return there(path) and path.is_dir()


def _unreadable(path: Path, error: OSError) -> Gemma4Error:
    cause = f"{path} cannot be read ({error.strerror or error})."
    return unusable(cause, "Check its permissions.")


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a file that holds one JSON object; None if it is not there.

    Raises:
        Gemma4Error: it cannot be read, is not JSON in UTF-8, no object, or exceeds a limit.
    """
    if not there(path):
        return None
    try:
        content: Any = json.loads(read_bytes(path, limits.JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise unusable(f"{path} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        what = "null" if content is None else f"a {type(content).__name__}"
        raise unusable(f"{path} holds {what}, not an object.")
    if is_deep(content):
        raise unusable(f"{path} is nested more than {limits.JSON_DEPTH} levels deep.")
    return content


def known_object(path: Path) -> dict[str, Any]:
    """Read a file as `read_object` does; an empty object where that is impossible."""
    try:
        return read_object(path) or {}
    except Gemma4Error:
        return {}


class Section:
    """Typed look-ups in one JSON object; `place` names it in errors."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        self.data = data
        self.place = place

    def section(self, key: str) -> "Section | None":
        """Return an object inside this one; None where it is left out, null or empty."""
        inner = self.data.get(key)
        if not inner:
            return None
        if not isinstance(inner, dict):
            raise unusable(f"{key} in {self.place} is {short(inner)}, not an object.")
        return Section(inner, key)

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Return a value of a type; the default where it is left out or null."""
        value = self.data.get(key)
        if value is None:
            value = default
        if value is None:
            raise unusable(f"{self.place} has no {key}.")
        # bool is an int in Python, and never what a size or an id should be.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, value)
        return value

    def integer(
        self, key: str, default: int | None = None, least: int = 0, most: int = 2**31 - 1
    ) -> int:
        """Return a whole number from `least` to `most`."""
        value = int(self.get(key, int, default))
        if not least <= value <= most:
            raise self.wrong(key, value, f", and must be {least} or more and at most {most:,}")
        return value

    def size(self, key: str, default: int | None = None, most: int = limits.CONFIG_SIZE) -> int:
        """Return a whole number above 0."""
        return self.integer(key, default, 1, most)

    def number(
        self, key: str, default: float | None = None, least: float = 0.0, most: float = 1e30
    ) -> float:
        """Return a number from `least` to `most`."""
        value = self.get(key, (int, float), default)
        if not least <= value <= most:  # NaN fails this too
            raise self.wrong(key, value, f", and must be from {least:g} to {most:g}")
        return float(value)

    def ids(self, key: str) -> list[int]:
        """Return token ids: a list, or one number as a list; empty where they are left out."""
        value = self.get(key, (int, list), [])
        ids = value if isinstance(value, list) else [value]
        if not all(type(i) is int and 0 <= i < 2**31 for i in ids):
            raise self.wrong(key, value)
        return ids

    def must_be(self, key: str, *allowed: Any) -> None:
        """Refuse a setting that changes what is computed; `allowed[0]` is also the default."""
        value = self.data.get(key, allowed[0])
        if value not in allowed:
            raise unusable(
                f"{key} in {self.place} is {short(value)}, and only {allowed[0]!r} is built.",
                "Choose a Gemma 4 12B folder.",
            )

    def wrong(self, key: str, value: object, why: str = "") -> Gemma4Error:
        return unusable(f"{key} in {self.place} is {short(value)}{why}.")


def is_deep(value: object) -> bool:
    """Whether it is nested too deeply; without recursion."""
    level = [value]
    for _ in range(limits.JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
