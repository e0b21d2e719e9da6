"""What all pages over the chat have: a title, a line about their keys, and Escape to go back."""

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from ..desk import Desk
from ..widgets import MUTED

if TYPE_CHECKING:
    from ..app import TerminalApp


class Page(Screen[None]):
    """A page.

    Args:
        desk: what all screens share.
    """

    BINDINGS = [Binding("escape", "back", show=False)]
    HEADING = ""
    KEYS: tuple[tuple[str, str], ...] = ()
    """Keys of the page and what they do, for its last line."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def compose(self) -> ComposeResult:
        """The title above, the keys below, the page between."""
        yield Static(Content.assemble((self.HEADING, "bold")), classes="heading")
        with Container(classes="page"):
            yield from self.content()
        parts: list[str | tuple[str, str]] = []
        for key, label in (*self.KEYS, ("esc", "Back")):
            parts += [(key, "$footer-key-foreground bold"), f" {label}  "]
        yield Static(Content.assemble(*parts), classes="keys")

    def content(self) -> ComposeResult:
        """Give what is on the page."""
        yield from ()

    @property
    def program(self) -> "TerminalApp":
        """The program itself."""
        return cast("TerminalApp", self.app)

    def tell(self, words: str) -> None:
        """Say something in the heading."""
        line = Content.assemble((self.HEADING, "bold"), (f"   {words}" if words else "", MUTED))
        self.query_one(".heading", Static).update(line)

    def action_back(self) -> None:
        """Go back to what is below."""
        self.dismiss()
