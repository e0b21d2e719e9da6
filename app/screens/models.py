"""F2: models, whether they fit into the memory, and how they come here."""

import asyncio
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList, Static

from mlx_gemma4.errors import Gemma4Error

from .. import models_list
from ..messages import StartJob
from ..models_list import ModelChoice
from ..widgets import MUTED
from ..widgets.status_bar import short
from .listing import Listing

LEAST, AROUND = 44, 36
"""Cells for the name of a model at the least, and cells of a line around it."""


class ModelsScreen(Listing[ModelChoice]):
    """The list above, what is known of one below."""

    HEADING = "Models"
    KEYS = (("enter", "Load"), ("d", "Download"), ("c", "Cancel"))
    BINDINGS = [Binding("d", "get", show=False), Binding("c", "stop", show=False)]

    def content(self) -> ComposeResult:
        yield OptionList(id="models", compact=True)
        yield Static(id="about")
        yield Static(id="progress", markup=False)

    async def on_mount(self) -> None:
        self._asked = ""
        await self._read()
        self.query_one(OptionList).focus()

    async def _read(self) -> None:
        self.subtitle("looking ...")
        machine = self.workspace.machine
        if machine is None:
            machine = self.workspace.machine = await asyncio.to_thread(
                self.workspace.devices.machine
            )
        self._show(await asyncio.to_thread(models_list.choices, machine))
        self.subtitle(
            f"{machine.budget / 1e9:.1f} GB for a model ({machine.rule})" if machine else ""
        )

    def _show(self, found: Sequence[ModelChoice]) -> None:
        now = self.workspace.conversation.model_name
        wanted = max((len(label(one)) for one in found), default=0)
        room = min(wanted, max(LEAST, self.app.size.width - AROUND))
        self.fill(found, lambda one: line(one, one.name == now, room))

    def on_resize(self) -> None:
        self._show(self.listed)

    def on_option_list_option_highlighted(self) -> None:
        if (chosen := self.chosen) is not None:
            self.query_one("#about", Static).update(about(chosen))

    def on_option_list_option_selected(self) -> None:
        chosen = self.chosen
        if chosen is None:
            return
        if not chosen.here:
            self.action_get()
            return
        if chosen.most == 0 and self._asked != f"load {chosen.name}":
            self._asked = f"load {chosen.name}"
            self._say("It does not fit into the memory. Press Enter again to try it all the same.")
            return
        try:
            self.workspace.load(chosen.name)
        except OSError as error:
            self.problem(error)
        self.dismiss()

    def action_get(self) -> None:
        chosen = self.chosen
        if chosen is None or chosen.here or self.workspace.job is not None:
            return
        if self._asked == f"get {chosen.name}":
            self.app.post_message(StartJob(chosen))
            self._say("Starting ...")
        elif chosen.weights:
            self._ask(chosen)
        else:
            self._say("Asking the Hub for its size ...")
            self.run_worker(self._look_up(chosen), exclusive=True)

    async def _look_up(self, chosen: ModelChoice) -> None:
        try:
            known = await asyncio.to_thread(models_list.looked_up, chosen, self.workspace.machine)
        except Gemma4Error as error:
            self._say(f"{error.title}. {error.cause} {error.remedy}")
            return
        self._show([known if one.name == known.name else one for one in self.listed])
        self._ask(known)

    def _ask(self, chosen: ModelChoice) -> None:
        self._asked = f"get {chosen.name}"
        self._say(question(chosen, models_list.free(chosen)))

    def action_stop(self) -> None:
        if self.workspace.job is not None:
            self.workspace.job.stop()
            self._say("Stopping. What has come stays, and is resumed the next time.")

    def show_progress(self, line: str | None) -> None:
        """Show how far a download or conversion is; None at its end."""
        self._say(line or "")
        if line is None:
            self.run_worker(self._read())

    def _say(self, words: str) -> None:
        self.query_one("#progress", Static).update(words)


def label(one: ModelChoice) -> str:
    """What it is called, and how it would be converted."""
    return f"{one.label} as {one.recipe}" if one.recipe else one.label


def line(one: ModelChoice, loaded: bool, room: int) -> Content:
    """Write a model, with so many cells for its name."""
    mark, colour = ("✓", "$text-success") if one.here else ("↓", MUTED)
    if loaded:
        mark = "●"
    if one.most is None or not one.weights:
        fits = Content.assemble((" size not known", MUTED))
    elif one.most:
        fits = Content.assemble((size(one.weights), "bold"), f"  up to {short(one.most)} tokens")
    else:
        fits = Content.assemble((f"{size(one.weights)}  does not fit", "$text-error"))
    name = label(one)
    name = name if len(name) <= room else f"{name[: room - 1]}…"
    return Content.assemble((f"{mark} ", f"{colour} bold"), f"{name:{room}} ", fits)


def size(count: int) -> str:
    """Write bytes, right-aligned."""
    return f"{count / 1e9:5.2f} GB" if count >= 1e8 else f"{count / 1e6:5.1f} MB"


def about(one: ModelChoice) -> Content:
    """Say all that is known of a model."""
    facts = []
    if one.weights:
        recipe = f" as {one.recipe}" if one.recipe else ""
        facts.append(f"{size(one.weights).strip()} of weights{recipe}")
        facts.append(f"{size(one.total).strip()} with a conversation of {short(one.context)}")
    where = "on this machine" if one.here else "not on this machine"
    return Content.assemble((one.about, ""), "\n", (" · ".join([where, *facts]), MUTED))


def question(one: ModelChoice, free: int) -> str:
    """Say what a download takes."""
    takes = f"about {size(one.weights).strip()}" if one.weights else "some GB"
    comes = size(one.download).strip() if one.download else "the checkpoint"
    if not one.recipe:
        return (
            f"This downloads {takes} as it is into the Hub's cache; {free / 1e9:.0f} GB are free. "
            "Press D again to start."
        )
    return (
        f"gemma4 convert {one.name} --recipe {one.recipe} downloads {comes} and writes "
        f"{takes} to {models_list.target(one)}; "
        f"{free / 1e9:.0f} GB are free. Press D again to start."
    )
