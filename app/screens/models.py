"""F2: models, whether they fit into the memory, and how they come here."""

import asyncio
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from .. import choices
from ..choices import Choice
from ..desk import problem_of
from ..widgets import MUTED
from ..widgets.gauges import short
from .page import Page

if TYPE_CHECKING:
    from ..app import TerminalApp


class ModelsScreen(Page):
    """The list above, what is known of one below."""

    HEADING = "Models"
    KEYS = (("enter", "Load"), ("d", "Download and convert"), ("c", "Stop that"))
    BINDINGS = [Binding("d", "get", show=False), Binding("c", "stop", show=False)]

    class Told(Message):
        """A conversion tells; None at its end."""

        def __init__(self, words: str | None) -> None:
            super().__init__()
            self.words = words

    def content(self) -> ComposeResult:
        """The list and two lines."""
        yield OptionList(id="models", compact=True)
        yield Static(id="about")
        yield Static(id="progress", markup=False)

    async def on_mount(self) -> None:
        """Find them."""
        self._choices: list[Choice] = []
        self._asked = ""
        await self._read()
        self.query_one(OptionList).focus()

    async def _read(self) -> None:
        self.tell("looking ...")
        machine = self.desk.machine
        if machine is None:
            machine = self.desk.machine = await asyncio.to_thread(self.desk.devices.machine)
        self._choices = await asyncio.to_thread(choices.choices, machine)
        options = self.query_one(OptionList)
        place = options.highlighted or 0
        options.clear_options()
        now = self.desk.conversation.model_name
        options.add_options(Option(line(one, one.name == now)) for one in self._choices)
        options.highlighted = min(place, len(self._choices) - 1)
        self.tell(f"{machine.budget / 1e9:.1f} GB for a model ({machine.rule})" if machine else "")

    @property
    def _chosen(self) -> Choice | None:
        place = self.query_one(OptionList).highlighted
        return self._choices[place] if place is not None and self._choices else None

    def on_option_list_option_highlighted(self) -> None:
        """Tell about it."""
        if (chosen := self._chosen) is not None:
            self.query_one("#about", Static).update(about(chosen))

    def on_option_list_option_selected(self) -> None:
        """Load it, also where it does not fit by the figures: the user decides."""
        chosen = self._chosen
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
            self.desk.load(chosen.name)
        except OSError as error:
            cast("TerminalApp", self.app).chat.problem(problem_of(error))
        self.dismiss()

    def action_get(self) -> None:
        """Say what a download takes; asked for again, begin it."""
        program, chosen = cast("TerminalApp", self.app), self._chosen
        if chosen is None or chosen.here or program.converting is not None:
            return
        if not chosen.recipe:
            self._say(f"It is ready as it is; this downloads it: hf download {chosen.name}")
            return
        if self._asked != f"get {chosen.name}":
            self._asked = f"get {chosen.name}"
            self._say(question(chosen, choices.free()))
            return
        program.convert(chosen)
        self._say("Beginning ...")

    def action_stop(self) -> None:
        """Stop the download or conversion."""
        program = cast("TerminalApp", self.app)
        if program.converting is not None:
            program.converting.stop()
            self._say("Stopping. What has come stays, and goes on the next time.")

    async def on_models_screen_told(self, message: Told) -> None:
        """Show how far it is."""
        if message.words is not None:
            self._say(message.words)
        else:
            await self._read()

    def _say(self, words: str) -> None:
        self.query_one("#progress", Static).update(words)


def line(one: Choice, loaded: bool) -> Content:
    """Write a model."""
    mark, colour = ("✓", "$text-success") if one.here else ("↓", MUTED)
    if loaded:
        mark = "●"
    if one.most is None or not one.weights:
        fits = Content.assemble(("size not known", MUTED))
    elif one.most:
        fits = Content.assemble((size(one.weights), "bold"), f"  up to {short(one.most)} tokens")
    else:
        fits = Content.assemble((f"{size(one.weights)}  does not fit", "$text-error"))
    recipe = f" as {one.recipe}" if one.recipe else ""
    label = f"{one.label}{recipe}"
    label = label if len(label) <= 44 else f"{label[:43]}…"
    return Content.assemble((f"{mark} ", f"{colour} bold"), f"{label:45}", fits)


def size(count: int) -> str:
    """Write bytes, right-aligned."""
    return f"{count / 1e9:5.2f} GB" if count >= 1e8 else f"{count / 1e6:5.1f} MB"


def about(one: Choice) -> Content:
    """Say all that is known of a model."""
    facts = []
    if one.weights:
        facts.append(f"{size(one.weights).strip()} of weights")
        facts.append(f"{size(one.total).strip()} with a conversation of {short(choices.CONTEXT)}")
    where = "on this machine" if one.here else "not on this machine"
    return Content.assemble((one.about, ""), "\n", (" · ".join([where, *facts]), MUTED))


def question(one: Choice, free: int) -> str:
    """Say what a download takes."""
    takes = f"about {one.weights / 1e9:.1f} GB" if one.weights else "some GB"
    return (
        f"gemma4 convert {one.name} --recipe {one.recipe} downloads the checkpoint and writes "
        f"{takes} to {choices.target(one)}; {free / 1e9:.0f} GB are free. Press D again to begin."
    )
