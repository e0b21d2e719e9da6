"""F1: all keys, from the table of commands."""

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from .. import commands
from ..widgets import MUTED
from .page import PageScreen


class HelpScreen(PageScreen):
    """The keys under their headings."""

    HEADING = "Keys"

    def content(self) -> ComposeResult:
        with VerticalScroll():
            for heading, entries in commands.groups():
                yield Static(heading, classes="group")
                for command in entries:
                    with Horizontal(classes="command"):
                        yield Static(self._keys(command), classes="key", markup=False)
                        yield Static(self._help(command))
            yield Static(
                "Each command can be typed, too: / and its name in the prompt. Keys are changed in "
                "the settings, under [keys].",
                classes="remark",
            )

    def _keys(self, command: commands.Command) -> str:
        return ", ".join(map(commands.shown, self.workspace.keys[command.id])) or f"/{command.id}"

    def _help(self, command: commands.Command) -> Content:
        when = "" if command.when is commands.When.ALWAYS else f"  ({command.when})"
        return Content.assemble(command.help, (when, MUTED))
