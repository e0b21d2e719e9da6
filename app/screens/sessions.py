"""Ctrl+R: earlier conversations, to go on with, rename or delete."""

import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input, OptionList

from ..conversation.store import SavedConversation
from ..messages import RunCommand
from ..state import Problem
from ..widgets import MUTED
from .page import Listing


class SessionsScreen(Listing[SavedConversation]):
    """The list, the one that was written last first."""

    HEADING = "Conversations"
    KEYS = (("enter", "Go on"), ("/", "Search"), ("r", "Rename"), ("d", "Delete"), ("u", "Undo"))
    BINDINGS = [
        Binding("slash", "search", show=False),
        Binding("r", "rename", show=False),
        Binding("d", "delete", show=False),
        Binding("u", "undo", show=False),
    ]
    _words = ""  # that are searched for

    def content(self) -> ComposeResult:
        yield OptionList(id="list", compact=True)
        yield Input(placeholder="Its title", id="title")
        yield Input(placeholder="Words of it", id="search")

    async def on_mount(self) -> None:
        self._deleted: list[str] = []
        for line in self.query(Input):
            line.display = False
        await self._read()
        self.query_one(OptionList).focus()

    async def _read(self) -> None:
        now = self.workspace.journal.folder.name
        store = self.workspace.store
        saved = await self.in_thread(lambda: store.find(self._words))
        if not self.query("#search"):
            return  # it was closed meanwhile
        if isinstance(saved, Problem):
            self.subtitle(saved.words)
            return
        self.fill(saved, lambda one: line(one, one.id == now))
        found = f'with "{self._words}": {len(saved)}' if self._words else ""
        self.subtitle(found if saved or self._words else "There is none yet.")

    def on_option_list_option_selected(self) -> None:
        chosen = self.chosen
        self.dismiss()
        if chosen is not None and chosen.id != self.workspace.journal.folder.name:
            self.app.post_message(RunCommand("resume", chosen.id))

    def action_rename(self) -> None:
        if (chosen := self.chosen) is not None:
            line = self.query_one("#title", Input)
            line.value, line.display = chosen.title, True
            line.focus()

    def action_search(self) -> None:
        line = self.query_one("#search", Input)
        line.display = True
        line.focus()

    async def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "search" and event.value.strip() != self._words:
            self._words = event.value.strip()
            self.run_worker(self._read(), exclusive=True)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "search":
            self.query_one(OptionList).focus()
            return
        event.input.display = False
        chosen = self.chosen
        if chosen is not None and self._try(
            lambda: self.workspace.store.rename(chosen.id, event.value)
        ):
            await self._read()
        self.query_one(OptionList).focus()

    async def action_delete(self) -> None:
        chosen = self.chosen
        if chosen is None:
            return
        if chosen.id == self.workspace.journal.folder.name:
            self.subtitle("This one is open: start another one first.")
            return
        if not self._try(lambda: self.workspace.store.delete(chosen.id)):
            return
        self._deleted.append(chosen.id)
        await self._read()
        self.subtitle(f"Deleted: {chosen.title}. U brings it back.")

    async def action_undo(self) -> None:
        if self._deleted:
            name = self._deleted[-1]
            if self._try(lambda: self.workspace.store.restore(name)):
                self._deleted.pop()
                await self._read()

    def _try(self, work: Callable[[], object]) -> bool:
        """Do something on the disk; return whether it was done."""
        try:
            work()
        except Exception as error:
            self.problem(error)
            return False
        return True

    def action_back(self) -> None:
        shown = [line for line in self.query(Input) if line.display]
        if not shown:
            self.dismiss()
            return
        for line in shown:
            line.display = False
            if line.id == "search":
                line.value = ""
        self.query_one(OptionList).focus()


def line(one: SavedConversation, held: bool) -> Content:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.updated))
    return Content.assemble(
        (f"{when}   ", MUTED),
        one.title,
        ("   open" if held else "", MUTED),
        (f"   {one.damage}" if one.damage else "", "$text-error"),
    )
