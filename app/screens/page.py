"""What all pages over the chat have: a title, a line about their keys, and Escape to go back."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..messages import ShowProblem
from ..state import Problem
from ..widgets import MUTED
from ..workspace import Workspace

Found = TypeVar("Found")
One = TypeVar("One")


class PageScreen(Screen[None]):
    """A page over the chat; a subclass has its `content`."""

    BINDINGS = [Binding("escape", "back", show=False)]
    HEADING = ""
    KEYS: tuple[tuple[str, str], ...] = ()
    """Keys of the page and what they do, for its last line."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace

    def compose(self) -> ComposeResult:
        with Horizontal(classes="top"):
            yield Static(Content.assemble((self.HEADING, "bold")), classes="heading")
            yield Static(classes="job", markup=False)
        with Container(classes="page"):
            yield from self.content()
        parts: list[str | tuple[str, str]] = []
        for key, label in (*self.KEYS, ("esc", "Back")):
            parts += [(key, "$footer-key-foreground bold"), f" {label}  "]
        yield Static(Content.assemble(*parts), classes="keys")

    def content(self) -> ComposeResult:
        yield from ()

    def subtitle(self, words: str) -> None:
        line = Content.assemble((self.HEADING, "bold"), (f"   {words}" if words else "", MUTED))
        self.query_one(".heading", Static).update(line)

    def on_screen_resume(self) -> None:
        self.job_changed()

    def job_changed(self) -> None:
        """Show the model that is on its way."""
        if not self.query(".job"):
            return  # it is still being made
        job = self.workspace.job
        self.query_one(".job", Static).update(job.at.brief if job is not None else "")

    async def in_thread(self, work: Callable[[], Found]) -> Found | Problem:
        """Do what takes a while; whatever goes wrong is returned, and never ends the program."""
        try:
            return await asyncio.to_thread(work)
        except Exception as error:
            return Problem.of(error)

    def problem(self, error: Exception) -> None:
        """Show an error here, and as a card in the conversation, which may offer a way out."""
        problem = Problem.of(error)
        self.subtitle(problem.words)
        self.app.post_message(ShowProblem(problem))

    def action_back(self) -> None:
        self.dismiss()


class Listing(PageScreen, Generic[One]):
    """A page whose content has one `OptionList`.

    It is filled again when something has changed, and the place in it stays.

    Attributes:
        listed: what the list shows, in order.
    """

    listed: Sequence[One] = ()

    def fill(self, listed: Sequence[One], line: Callable[[One], Content]) -> None:
        options = self.query_one(OptionList)
        place = options.highlighted or 0
        self.listed = listed
        options.clear_options()
        options.add_options(Option(line(one)) for one in listed)
        if listed:
            options.highlighted = min(place, len(listed) - 1)

    def remark(self, words: str) -> None:
        """Write something below the list."""
        self.query_one("#progress", Static).update(words)

    @property
    def chosen(self) -> One | None:
        """The one that is highlighted; None where there is none."""
        place = self.query_one(OptionList).highlighted
        return self.listed[place] if place is not None and place < len(self.listed) else None
