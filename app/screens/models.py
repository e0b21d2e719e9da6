"""F2: models: the list on the left, what is known of one on the right, and how they come here."""

import asyncio
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from .. import models_list
from ..messages import RunCommand, StartJob
from ..models_list import ModelChoice
from ..state import Problem
from ..widgets import MUTED
from ..widgets.status_bar import short
from .page import Listing

BAR = 20
"""Cells of the bar of memory."""


class ModelsScreen(Listing[ModelChoice]):
    """Two panes."""

    HEADING = "Models"
    KEYS = (("enter", "Load or get"), ("c", "Stop the download"))
    BINDINGS = [Binding("d", "get", show=False), Binding("c", "stop", show=False)]
    _asked = ""  # what a second Enter would do
    _job = False  # whether a model was on its way when that was shown last

    def content(self) -> ComposeResult:
        with Horizontal(id="panes"):
            yield OptionList(id="models", compact=True)
            with VerticalScroll(id="details", can_focus=False):
                yield Static(id="about")
                yield Static(id="progress", markup=False)

    async def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        await self._read()

    async def _read(self) -> None:
        self.subtitle("looking ...")
        look = self.workspace.devices.machine
        machine = self.workspace.machine or await asyncio.to_thread(look)
        self.workspace.machine = machine
        found = await self.in_thread(lambda: models_list.choices(machine))
        if not self.query("#about"):
            return  # it was closed meanwhile
        if isinstance(found, Problem):
            self.subtitle(found.words)
            return
        self._show(found)
        self.subtitle(
            f"{machine.budget / 1e9:.1f} GB for a model ({machine.rule})" if machine else ""
        )

    def _show(self, found: Sequence[ModelChoice]) -> None:
        now = self.workspace.conversation.model_name
        room = max(20, self.app.size.width // 2 - 6)
        self.fill(found, lambda one: line(one, is_loaded(one, now), room))

    def on_resize(self) -> None:
        self._show(self.listed)

    def on_option_list_option_highlighted(self) -> None:
        if (chosen := self.chosen) is not None:
            loaded = is_loaded(chosen, self.workspace.conversation.model_name)
            self.query_one("#about", Static).update(about(chosen, loaded))

    def on_option_list_option_selected(self) -> None:
        chosen = self.chosen
        if chosen is None:
            return
        if not chosen.here:
            self.action_get()
            return
        if chosen.most == 0 and self._asked != f"load {chosen.name}":
            self._asked = f"load {chosen.name}"
            self.remark("It does not fit into the memory. Press Enter again to try it anyway.")
            return
        self.dismiss()
        self.app.post_message(RunCommand("model", chosen.name))

    def action_get(self) -> None:
        chosen = self.chosen
        if chosen is None or chosen.here:
            return
        if self.workspace.job is not None:
            self.remark(f"{self.workspace.job.at.words}\nOne model comes at a time.")
        elif self._asked == f"get {chosen.name}":
            self.app.post_message(StartJob(chosen.name, chosen.recipe))
            self.remark("Starting ...")
        elif chosen.most == 0:
            self.remark(f"It does not fit into the memory, {gigabytes(chosen.budget)} here.")
        elif chosen.weights:
            self._ask(chosen)
        else:
            self.remark("Asking the Hub for its size ...")
            self.run_worker(self._look_up(chosen), exclusive=True)

    async def _look_up(self, chosen: ModelChoice) -> None:
        machine = self.workspace.machine
        known = await self.in_thread(lambda: models_list.looked_up(chosen, machine))
        if isinstance(known, Problem):
            self.remark(known.words)
            return
        self._show([known if one.name == known.name else one for one in self.listed])
        self._ask(known)

    def _ask(self, chosen: ModelChoice) -> None:
        self._asked = f"get {chosen.name}"
        self.remark(question(chosen, models_list.free(chosen)))

    def action_stop(self) -> None:
        if self.workspace.job is not None:
            self.workspace.job.stop()
            self.remark("Stopping. What has come stays, and is resumed the next time.")

    def job_changed(self) -> None:
        super().job_changed()
        job = self.workspace.job
        if job is not None:
            self.remark(job.at.words)
        elif self._job:
            self.remark("")
            self._asked = ""
            self.run_worker(self._read())
        self._job = job is not None


def is_loaded(one: ModelChoice, now: str) -> bool:
    return now in (one.name, str(one.folder))


def label(one: ModelChoice) -> str:
    return f"{one.label} as {one.recipe}" if one.recipe else one.label


def line(one: ModelChoice, loaded: bool, room: int) -> Content:
    """Write a model, with `room` cells for its name: its first sign shows what can be done."""
    mark, colour = ("✓", "$text-success") if one.here else ("↓", MUTED)
    if loaded:
        mark = "●"
    elif one.most == 0:
        mark, colour = "✗", "$text-error"
    elif one.recommended and not one.here:
        mark, colour = "★", "$text-accent"
    name = label(one)
    name = name if len(name) <= room else f"…{name[1 - room :]}"
    return Content.assemble((f"{mark} ", f"{colour} bold"), name)


def marks(one: ModelChoice, loaded: bool) -> list[tuple[str, str]]:
    """Return the signs that apply, with their meaning in words, and their colours."""
    found = [("● loaded", "$text-success")] if loaded else []
    if one.recommended:
        found.append(("★ recommended", "$text-accent"))
    found.append(("✓ downloaded", "$text-success") if one.here else ("↓ not downloaded", MUTED))
    if one.most == 0:
        found.append(("✗ does not fit", "$text-error"))
    elif one.barely:
        found.append(("! fits barely", "$text-warning"))
    return found


def about(one: ModelChoice, loaded: bool) -> Content:
    """Write all that is known of a model, a line each."""
    parts: list[str | Content | tuple[str, str]] = [(label(one), "bold"), f"\n{one.about}\n\n"]
    for words, colour in marks(one, loaded):
        parts += [(words, colour), "\n"]
    parts.append("\n")
    if one.weights and one.budget:
        filled = min(BAR, round(BAR * one.total / one.budget))
        held = min(filled, round(BAR * one.weights / one.budget))
        colour = "$text-error" if one.total > one.budget else "$text-success"
        drawn = "█" * held + "▒" * (filled - held) + "░" * (BAR - filled)
        parts += [("Memory  ", MUTED), (drawn, colour), "\n"]
        parts += [f"{gigabytes(one.weights)} of weights\n"]
        parts += [f"{gigabytes(one.total)} with {short(one.context)} tokens, "]
        parts += [f"of {gigabytes(one.budget)}\n"]
        fits = f"up to {one.most:,} tokens" if one.most else "no conversation"
        parts += [("Fits    ", MUTED), f"{fits}\n"]
    elif not one.here:
        parts += ["size not known\n"]
    if one.download and not one.here:
        parts += [("Comes   ", MUTED), f"{gigabytes(one.download)} to download\n"]
    if one.license:
        parts += [("Licence ", MUTED), f"{one.license}\n"]
    if one.folder is not None:
        parts += [("Folder  ", MUTED), f"{one.folder}\n"]
    return Content.assemble(*parts)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def question(one: ModelChoice, free: int) -> str:
    comes = gigabytes(one.download) if one.download else "The model"
    stays = f"; {gigabytes(one.weights)} stay" if one.recipe else ""
    return f"{comes} to download{stays}; {free / 1e9:.0f} GB are free. Press Enter again to start."
