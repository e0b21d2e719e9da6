"""F1: all keys, from the table of commands."""

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from .. import commands
from ..widgets import MUTED
from .page import PageScreen


class HelpScreen(PageScreen):
    HEADING = "Keys"

    def content(self) -> ComposeResult:
        with VerticalScroll():
            for heading, entries in commands.groups():
                yield Static(heading, classes="group")
                for command in entries:
                    keys = ", ".join(map(commands.shown, self.workspace.keys[command.id]))
                    when = "" if command.when == commands.When.ALWAYS else f"  ({command.when})"
                    with Horizontal(classes="command"):
                        yield Static(keys or f"/{command.id}", classes="key", markup=False)
                        yield Static(Content.assemble(command.help, (when, MUTED)))
            yield Static(
                "Each command can be typed, too: / and its name in the prompt. Keys are changed in "
                "the settings, under [keys].",
                classes="remark",
            )
