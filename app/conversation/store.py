"""All conversations on disk, a folder each (`journal.py`): listed, renamed, moved to the trash."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from mlx_gemma4.errors import Gemma4Error

from .entries import QuestionSent, TextAdded, from_json
from .journal import EVENTS, Journal, head

TITLE_LENGTH = 60
UNTITLED = "Untitled"
_TITLE, _TRASH = "title.txt", "trash"
_LINES = 200
"""Lines that are looked at for a title: the first question comes early, or not at all."""


@dataclass(frozen=True)
class SavedConversation:
    """One conversation in the list.

    Attributes:
        id: the name of its folder.
        title: the user's, or the beginning of the first question.
        created: seconds since 1970.
        updated: the same; when something was last written.
    """

    id: str
    title: str
    created: float
    updated: float


class ConversationStore:
    """The conversations of a user.

    Args:
        folder: where they are; None for the user's data folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        own = platformdirs.user_data_path("mlx-gemma4", appauthor=False) / "conversations"
        self.folder = folder or own

    def new(self) -> Journal:
        """Begin a conversation. Nothing is on the disk before something is written."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        return Journal(self.folder / name)

    def open(self, name: str) -> Journal:
        """Open a conversation to go on with it.

        Raises:
            Gemma4Error: there is none, or as `Journal`.
        """
        if not (self._of(name) / EVENTS).is_file():
            raise Gemma4Error(
                "conversation_missing",
                "There is no such conversation",
                f"{self.folder} has no {name}.",
                "Choose one of the list (Ctrl+R).",
            )
        return Journal(self._of(name))

    def list(self) -> list[SavedConversation]:
        """Give all conversations, the one that was written last first."""
        if not self.folder.is_dir():
            return []
        found = [_saved(path) for path in self.folder.iterdir() if (path / EVENTS).is_file()]
        return sorted(found, key=lambda saved: saved.updated, reverse=True)

    def rename(self, name: str, title: str) -> None:
        """Give a conversation a title; an empty one gives it back its own."""
        path = self._of(name) / _TITLE
        if title.strip():
            path.write_text(" ".join(title.split()) + "\n", encoding="utf-8")
        else:
            path.unlink(missing_ok=True)

    def delete(self, name: str) -> Path:
        """Move a conversation to the trash folder, and say where it is now."""
        place = self.folder / _TRASH / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return self._of(name).rename(place)

    def restore(self, name: str) -> None:
        """Bring a conversation back from the trash folder."""
        (self.folder / _TRASH / name).rename(self._of(name))

    def _of(self, name: str) -> Path:
        return self.folder / name


def title_of(folder: Path) -> str:
    """Give the title of a conversation's folder."""
    return _saved(folder).title


def _saved(folder: Path) -> SavedConversation:
    events = folder / EVENTS
    updated = events.stat().st_mtime
    created, title = updated, ""
    if (folder / _TITLE).is_file():
        title = (folder / _TITLE).read_text(encoding="utf-8", errors="replace").strip()
    for number, line in enumerate(_first_lines(events)):
        if number == 0 and "version" in head(line):
            created = float(head(line).get("at", updated))
        elif not title:
            title = _title_in(line)
        if title:
            break
    return SavedConversation(folder.name, title or UNTITLED, created, updated)


def _first_lines(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        for _, line in zip(range(_LINES), file, strict=False):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _title_in(line: object) -> str:
    """Give the title that an entry makes: of the first words that were asked or heard."""
    try:
        entry = from_json(head(line))
    except (KeyError, TypeError, ValueError):
        return ""
    match entry:
        case QuestionSent(text=text) | TextAdded(piece="heard", text=text):
            words = " ".join(text.split())
        case _:
            return ""
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"
