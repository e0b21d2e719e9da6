"""What the start of a word may mean in the prompt: a command after a slash, a file after an @."""

import os
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mlx_gemma4.media.sources import folded, found

from .. import commands
from ..commands import Situation
from . import MUTED

MOST = 8
"""Suggestions that are shown."""


@dataclass(frozen=True)
class Suggestion:
    """A command or a file.

    Attributes:
        command: the id of a command; empty for a file.
        path: of a file or folder.
    """

    label: str
    about: str = ""
    command: str = ""
    path: Path | None = None


class Suggestions(OptionList, can_focus=False):
    """A list above the prompt; the prompt keeps the focus and passes keys on."""

    def __init__(self) -> None:
        super().__init__(id="suggestions", compact=True)
        self.offered: list[Suggestion] = []
        self.display = False

    def offer(self, suggestions: list[Suggestion], choose: bool = True) -> None:
        """Show these suggestions, or none; Enter takes the first, unless `choose` is False."""
        self.offered = suggestions[:MOST]
        self.clear_options()
        width = max((len(one.label) for one in self.offered), default=0)
        self.add_options(
            Option(Content.assemble((one.label.ljust(width), "bold"), (f"  {one.about}", MUTED)))
            for one in self.offered
        )
        self.display = bool(self.offered)
        self.highlighted = 0 if self.offered and choose else None

    @property
    def chosen(self) -> Suggestion | None:
        if not self.display or self.highlighted is None:
            return None
        return self.offered[self.highlighted]


def of_commands(text: str, situation: Situation) -> list[Suggestion]:
    """Return the commands that a slash and the start of a name may mean, if usable now."""
    found = [one for one in commands.find(text) if commands.available(one, situation)]
    typed = [one for one in found if one.id not in commands.NEVER_TYPED]
    return [
        Suggestion(f"/{one.id} {one.argument}".rstrip(), one.help, command=one.id) for one in typed
    ]


def of_files(text: str) -> list[Suggestion]:
    """Return the files and folders that an @ and the start of a path may mean. Reads a folder."""
    typed = text.removeprefix("@")
    try:
        path = Path(typed).expanduser()
        whole = typed.endswith("/") or not typed
        folder, beginning = (path, "") if whole else (path.parent, folded(path.name).lower())
        folder = found(folder) or folder
        with os.scandir(folder) as entries:
            inside = [(entry.name, entry.is_dir()) for entry in entries]
    except (OSError, RuntimeError, ValueError):  # also: no such user, a null character
        return []
    shown = [
        (name, is_folder)
        for name, is_folder in inside
        if folded(name).lower().startswith(beginning)
        and (beginning.startswith(".") or not name.startswith("."))
    ]
    shown.sort(key=lambda one: (not one[1], one[0].lower()))
    return [
        Suggestion(f"{name}/" if is_folder else name, path=folder / name)
        for name, is_folder in shown[:MOST]
    ]
