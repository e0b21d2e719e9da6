"""F3: every setting with its comment, changed here and in settings.toml at once."""

from typing import Any, get_args

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Select, Static, Switch

from mlx_gemma4.errors import Gemma4Error

from .. import settings
from ..widgets import MUTED
from ..workspace import OF_WORKER
from .page import PageScreen


class SettingsScreen(PageScreen):
    """One line a setting, in the order of the file."""

    HEADING = "Settings"
    KEYS = (("tab", "Next"), ("enter", "Take a value"))
    BINDINGS = [Binding("escape", "back", show=False, priority=True)]

    def content(self) -> ComposeResult:
        with VerticalScroll():
            for name in settings.FIELDS:
                if name == "keys":
                    continue  # several at once: in the file
                with Horizontal(classes="setting"):
                    yield Static(settings.label(name), classes="name", markup=False)
                    yield field(name, getattr(self.workspace.settings, name))
                    words = Content.assemble(settings.about(name), (f"  {name}", MUTED))
                    yield Static(words, classes="about")
            yield Static(
                f"{settings.about('keys')}\n{self.workspace.path}", classes="remark", markup=False
            )

    def on_mount(self) -> None:
        self.subtitle(str(self.workspace.path))

    @on(Switch.Changed)
    @on(Select.Changed)
    async def _take_choice(self, event: Switch.Changed | Select.Changed) -> None:
        await self._take(event.control, event.value)

    @on(Input.Submitted)
    @on(Input.Blurred)
    async def _take_text(self, event: Input.Submitted | Input.Blurred) -> None:
        name = (event.input.id or "").removeprefix("set-")
        kinds = get_args(settings.TYPES[name]) or (settings.TYPES[name],)
        text = event.input.value.strip()
        value: Any = text
        try:
            if type(None) in kinds and not text:
                value = None
            elif float in kinds or int in kinds:
                value = (float if float in kinds else int)(text)
        except ValueError:
            pass  # `problem` returns what it must be
        await self._take(event.input, value)

    async def _take(self, widget: Input | Select[Any] | Switch, value: Any) -> None:
        name = (widget.id or "").removeprefix("set-")
        if value == getattr(self.workspace.settings, name):
            widget.remove_class("wrong")
            return
        if wrong := settings.problem(name, value):
            widget.add_class("wrong")
            self.subtitle(f"{settings.label(name)}: {wrong}.")
            return
        widget.remove_class("wrong")
        try:
            if name == "model":
                await self.workspace.load(value)
            else:
                self.workspace.change(**{name: value})
        except (OSError, Gemma4Error) as error:
            widget.set_class(getattr(self.workspace.settings, name) != value, "wrong")
            self.problem(error)
        else:
            later = "; it holds from the next conversation on" if name in OF_WORKER else ""
            self.subtitle(
                f"{settings.label(name)} is {'empty' if value in ('', None) else value}{later}."
            )
        self.app.theme = f"textual-{self.workspace.settings.theme}"


def field(name: str, value: Any) -> Input | Select[Any] | Switch:
    """Make the widget that changes a setting."""
    if few := settings.choices(name):
        options = [(str(one), one) for one in few]
        if type(None) in get_args(settings.TYPES[name]):
            options.insert(0, ("the model's own", None))
        return Select(options, value=value, allow_blank=False, compact=True, id=f"set-{name}")
    if settings.TYPES[name] is bool:
        return Switch(value, animate=False, id=f"set-{name}")
    return Input("" if value is None else str(value), compact=True, id=f"set-{name}")
