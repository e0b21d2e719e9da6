"""All conversations on disk, a folder each (`journal.py`): listed, renamed, deleted."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_gemma4.errors import Gemma4Error, counted
from mlx_gemma4.hub import conversations, disk

from . import private_files
from .entries import Entry, QuestionSent, TextAdded
from .journal import Journal, locked
from .journal_file import EVENTS, parsed, read_lines, unwritable

TITLE_LENGTH = 60
UNTITLED = "Untitled"
_TITLE, _TRASH = "title.txt", "trash"


@dataclass(frozen=True)
class SavedConversation:
    """One conversation in the list.

    Attributes:
        id: the name of its folder.
        title: the user's, or the start of the first question.
        updated: when something was last written, in seconds since 1970.
        damage: what of it cannot be read, in a few words; empty for nothing.
    """

    id: str
    title: str
    updated: float
    damage: str = ""


class ConversationStore:
    """The conversations in a folder; by default those of the user's data folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or conversations.folder()
        # of this program alone: another one that ends leaves what this one may bring back
        self._trash = self.folder / _TRASH / str(os.getpid())

    @property
    def parked(self) -> Path:
        """Where KV rows are parked: a folder a conversation."""
        return self.folder.parent / "prefixes"

    def new(self) -> Journal:
        """Start a conversation. Nothing is on the disk before something is written."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        return Journal(self.folder / name)

    def open(self, name: str) -> Journal:
        """Open a conversation to continue it.

        Raises:
            Gemma4Error: there is none, or as `Journal`.
        """
        with unwritable(
            self.folder, "conversation_unreadable", "The conversation cannot be opened"
        ):
            if (self.folder / name / EVENTS).is_file():
                return Journal(self.folder / name)
        raise Gemma4Error(
            "conversation_missing",
            "There is no such conversation",
            f"{self.folder} has no {name}.",
            "Choose one of the list (Ctrl+R).",
        )

    def find(self, words: str) -> Sequence[SavedConversation]:
        """Return the conversations in whose title or text all the words occur, ignoring case."""
        wanted = words.casefold().split()
        return [one for one in self.list() if all(word in self._text(one) for word in wanted)]

    def _text(self, saved: SavedConversation) -> str:
        """All that was asked, heard and answered in a conversation; its title alone if damaged."""
        try:
            _, lines, _ = read_lines((self.folder / saved.id / EVENTS).read_bytes(), Path(saved.id))
        except (OSError, Gemma4Error):
            return saved.title.casefold()
        entries, _ = parsed(lines)
        said: dict[tuple[int, str], str] = {}
        for entry in entries:
            match entry:
                case QuestionSent(turn, text):
                    said[turn, "question"] = text
                case TextAdded(turn, piece, text):
                    said[turn, piece] = said.get((turn, piece), "") + text
        return "\n".join([saved.title, *said.values()]).casefold()

    def list(self) -> list[SavedConversation]:
        """Return all conversations, the one written last first; a damaged one has its `damage`."""
        disk.restrict(self.folder)
        try:
            folders = [path for path in self.folder.iterdir() if path.name != _TRASH]
        except OSError:
            return []
        found = [saved for path in folders if (saved := _saved(path)) is not None]
        return sorted(found, key=lambda saved: saved.updated, reverse=True)

    def rename(self, name: str, title: str) -> None:
        """Set a conversation's title; an empty one brings its own back.

        Raises:
            Gemma4Error: it cannot be written.
        """
        path = self.folder / name / _TITLE
        with unwritable(path.parent):
            if title.strip():
                private_files.write(path, (" ".join(title.split()) + "\n").encode())
            else:
                path.unlink(missing_ok=True)

    def delete(self, name: str) -> Path:
        """Delete a conversation's parked rows, and move it to the trash; return where it is now.

        Raises:
            Gemma4Error: another program has it open, or it cannot be moved.
        """
        place = self._trash / name
        with unwritable(self.folder):
            file = locked(self.folder / name / EVENTS)
            try:
                shutil.rmtree(self.parked / name, ignore_errors=True)
                disk.make_private(place.parent)
                return (self.folder / name).rename(place)
            finally:
                os.close(file)

    def restore(self, name: str) -> None:
        """Bring a conversation back from the trash.

        Raises:
            Gemma4Error: it cannot be moved.
        """
        with unwritable(self.folder):
            (self._trash / name).rename(self.folder / name)

    def empty_trash(self) -> None:
        """Delete for good what this program deleted, and rows that no conversation has.

        The worker may park rows of a conversation while that is deleted.
        """
        shutil.rmtree(self._trash, ignore_errors=True)
        with contextlib.suppress(OSError):  # another program has something there
            self._trash.parent.rmdir()
        for rows in self.parked.glob("*"):
            if not (self.folder / rows.name).is_dir():
                shutil.rmtree(rows, ignore_errors=True)

    def clean(self) -> None:
        """Empty every program's trash, and delete conversations of which only media were written.

        For the start of a program beside which no other runs: what was killed before left both.
        """
        shutil.rmtree(self.folder / _TRASH, ignore_errors=True)
        self.empty_trash()
        for folder in self.folder.glob("*-*-*"):
            if folder.is_dir() and not (folder / EVENTS).exists():
                shutil.rmtree(folder, ignore_errors=True)


def title_of(folder: Path) -> str:
    saved = _saved(folder)
    return UNTITLED if saved is None else saved.title


def _saved(folder: Path) -> SavedConversation | None:
    """Read a folder; None where it holds no conversation."""
    updated, title = 0.0, ""
    try:
        events = folder / EVENTS
        if not events.is_file():
            return None
        updated = events.stat().st_mtime
        if (folder / _TITLE).is_file():
            title = (folder / _TITLE).read_text(encoding="utf-8", errors="replace").strip()
        content = events.read_bytes()
        _, lines, damaged = read_lines(content[: content.rfind(b"\n") + 1], events)
    except (OSError, Gemma4Error) as error:
        cause = error.cause if isinstance(error, Gemma4Error) else f"{error.strerror}."
        return SavedConversation(folder.name, title or UNTITLED, updated, cause)
    entries, unknown = parsed(lines)
    damaged += unknown
    damage = f"{counted(damaged, 'line')} cannot be read" if damaged else ""
    return SavedConversation(folder.name, title or _title(entries), updated, damage)


def _title(entries: list[Entry]) -> str:
    """The title of a conversation: the first words that were asked or heard, else answered."""
    for entry in entries:
        match entry:
            case QuestionSent(text=text) | TextAdded(piece="heard", text=text) if text.strip():
                return _shortened(text)
    answer = "".join(
        one.text for one in entries if isinstance(one, TextAdded) and one.piece == "text"
    )
    return _shortened(f"Spoken: {answer}") if answer.strip() else UNTITLED


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"
