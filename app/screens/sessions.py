"""Ctrl+R: earlier conversations, to go on with, rename or delete."""

import asyncio
import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input, OptionList

from mlx_gemma4.errors import Gemma4Error

from ..conversation.store import SavedConversation
from ..messages import ConversationOpened
from ..widgets import MUTED, clean
from .listing import Listing


class SessionsScreen(Listing[SavedConversation]):
    """The list, the one that was written last first."""

    HEADING = "Conversations"
    KEYS = (("enter", "Go on"), ("r", "Rename"), ("d", "Delete"), ("u", "Undo"))
    BINDINGS = [
        Binding("r", "rename", show=False),
        Binding("d", "delete", show=False),
        Binding("u", "undo", show=False),
    ]

    def content(self) -> ComposeResult:
        yield OptionList(id="list", compact=True)
        yield Input(placeholder="Its title", id="title")

    async def on_mount(self) -> None:
        self._deleted: list[str] = []
        self.query_one(Input).display = False
        await self._read()
        self.query_one(OptionList).focus()

    async def _read(self) -> None:
        now = self.workspace.journal.folder.name
        saved = await asyncio.to_thread(self.workspace.store.list)
        self.fill(saved, lambda one: line(one, one.id == now))
        self.subtitle("" if saved else "There is none yet.")

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = self.listed[event.option_index]
        if chosen.id == self.workspace.journal.folder.name:
            self.dismiss()
            return
        self.subtitle("Opening ...")
        try:
            journal, conversation = await asyncio.to_thread(self.workspace.open, chosen.id)
        except Gemma4Error as error:
            self.problem(error)
        else:
            self.workspace.change_to(journal, conversation)
            self.workspace.conversation.begin()
            self.app.post_message(ConversationOpened())
        self.dismiss()

    def action_rename(self) -> None:
        if (chosen := self.chosen) is not None:
            line = self.query_one(Input)
            line.value, line.display = chosen.title, True
            line.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        event.input.display = False
        if (chosen := self.chosen) is not None:
            self._try(lambda: self.workspace.store.rename(chosen.id, event.value))
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
            name = self._deleted.pop()
            self._try(lambda: self.workspace.store.restore(name))
            await self._read()

    def _try(self, work: Callable[[], object]) -> bool:
        """Do something on the disk; whether it was done."""
        try:
            work()
        except Gemma4Error as error:
            self.problem(error)
            return False
        return True

    def action_back(self) -> None:
        line = self.query_one(Input)
        if line.display:
            line.display = False
            self.query_one(OptionList).focus()
        else:
            self.dismiss()


def line(one: SavedConversation, held: bool) -> Content:
    """Write a conversation."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.updated))
    return Content.assemble(
        (f"{when}   ", MUTED),
        clean(one.title),
        ("   open" if held else "", MUTED),
        (f"   {clean(one.damage)}" if one.damage else "", "$text-error"),
    )
