"""F12: the end of the log, where everything goes that is no part of the screen."""

from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import RichLog

from .page import PageScreen

END = 64 * 1024
"""Bytes of the log that are shown."""


class LogScreen(PageScreen):
    HEADING = "Log"

    def content(self) -> ComposeResult:
        yield RichLog(wrap=True, max_lines=2000)

    def on_mount(self) -> None:
        self.subtitle(str(self.workspace.log))
        lines = self.query_one(RichLog)
        lines.write(end_of(self.workspace.log) or "Nothing is in the log.")
        lines.focus()


def end_of(path: Path) -> str:
    """Return the last lines of a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - END))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= END else text.split("\n", 1)[-1]
