"""The terminal program: its screens, its keys, and the commands that any screen has."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.screen import Screen

from mlx_gemma4.runtime.client import Port
from mlx_gemma4.runtime.reports import Report

from . import commands
from .conversation.store import Store
from .converting import Converting
from .desk import Desk, problem_of
from .devices.parts import Devices
from .downloading import Downloading
from .keys import NO_KEY, everywhere
from .messages import Getting, Reports
from .models_list import Choice, target
from .reader import Reader
from .screens.chat import ChatScreen
from .screens.doctor import DoctorScreen
from .screens.help import HelpScreen
from .screens.log import LogScreen
from .screens.models import ModelsScreen
from .screens.page import Page
from .screens.sessions import SessionsScreen
from .screens.settings import SettingsScreen
from .state import Problem
from .widgets.footer import Footer

AGAIN = 2.0
"""Seconds within which a second Ctrl+C ends the program."""
THEMES = {"dark": "textual-dark", "light": "textual-light"}
CLOSING = 5.0
"""Seconds that the engine gets to tell its last."""

SCREENS: dict[str, type[Page]] = {
    "resume": SessionsScreen,
    "model": ModelsScreen,
    "settings": SettingsScreen,
    "doctor": DoctorScreen,
    "log": LogScreen,
    "help": HelpScreen,
}


class TerminalApp(App[None]):
    """The program over an engine.

    Args:
        engine: answers; it is closed at the end.
        store: where the conversations are.
        folder: of the settings and the log.
        devices: the outside world.
    """

    TITLE = "gemma4"
    CSS_PATH = Path(__file__).parent / "styles" / "app.tcss"
    ENABLE_COMMAND_PALETTE = False  # its key is in the table, as all others
    BINDINGS = [*everywhere(), Binding("ctrl+c", "ask_quit", show=False, system=True)]

    def __init__(
        self, engine: Port, store: Store, folder: Path, devices: Devices | None = None
    ) -> None:
        super().__init__()
        self.use_command_palette = True
        self.desk = Desk(engine, store, folder, devices)
        self.theme = THEMES[self.desk.settings.theme]
        self.getting: Converting | Downloading | None = None
        self._asked = 0.0  # when Ctrl+C was pressed last
        self._reader: Reader | None = None

    def on_mount(self) -> None:
        """Open the chat and begin to read what the engine tells."""
        self.use_keys()
        self.chat = ChatScreen(self.desk)
        self.push_screen(self.chat)
        self._reader = Reader(self.desk.engine, self._take)

    def use_keys(self) -> None:
        """Use the keys of the table and the settings."""
        self.set_keymap({name: ",".join(keys) or NO_KEY for name, keys in self.desk.keys.items()})

    def use_theme(self) -> None:
        """Use the theme of the settings."""
        self.theme = THEMES[self.desk.settings.theme]

    def do(self, name: str) -> None:
        """Do a command of the table."""
        if name in SCREENS:
            self._open(SCREENS[name])
        elif name == "palette":
            self.action_command_palette()
        elif name == "quit":
            self.exit()
        elif name == "theme":
            other = {"dark": "light", "light": "dark"}[self.desk.settings.theme]
            try:
                self.desk.change(theme=other)
            except OSError as error:
                self.chat.problem(problem_of(error))
            self.use_theme()
        else:
            self._back_to_chat()
            self.chat.do(name)

    def action_do(self, name: str) -> None:
        """Do a command whose key was pressed."""
        self.do(name)

    def action_ask_quit(self) -> None:
        """End, if it is asked for twice."""
        now = time.monotonic()
        if now - self._asked < AGAIN:
            self.exit()
        self._asked = now
        self.notify("Press Ctrl+C again to quit.", timeout=AGAIN)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Give what the palette lists: the table."""
        empty = self.chat.empty
        situation = self.desk.conversation.situation(empty)
        for command in commands.COMMANDS:
            if command.group != commands.PROMPT and commands.available(command, situation):
                yield SystemCommand(command.title, command.help, lambda c=command: self.do(c.id))

    def on_footer_clicked(self, event: Footer.Clicked) -> None:
        """Do what was clicked."""
        self.do(event.command)

    def get(self, choice: Choice) -> None:
        """Download a model, and convert it by its recipe; it goes on when its page is closed."""

        def tell(words: str | None) -> None:
            self.post_message(Getting(words))

        if choice.recipe:
            self.getting = Converting(choice.name, choice.recipe, target(choice), tell)
        else:
            self.getting = Downloading(choice.name, tell)

    def on_getting(self, message: Getting) -> None:
        """The download or conversion tells; at its end say how it went."""
        assert self.getting is not None
        if isinstance(self.screen, ModelsScreen):
            self.screen.post_message(ModelsScreen.Told(message.words))
        if message.words is None:
            done, self.getting = self.getting, None
            if done.succeeded:
                self.notify(done.ready)
            elif done.lines:
                said = " ".join(done.lines[-3:])
                self.chat.problem(
                    Problem("download_failed", done.failed, said, "F2 goes on where it was.")
                )

    async def on_unmount(self) -> None:
        """Close the conversation at once, then the engine."""
        if self.getting is not None:
            self.getting.stop()
        self.chat.close()
        self.desk.close()
        self.desk.engine.close()
        if self._reader is not None:
            self._reader.join(CLOSING)

    def _take(self, reports: list[Report]) -> None:
        with contextlib.suppress(RuntimeError):  # the program has ended: nobody looks any more
            self.chat.post_message(Reports(reports))

    def _open(self, page: type[Page]) -> None:
        """Open a page over the chat, or close it if it is open."""
        is_open = isinstance(self.screen, page)
        self._back_to_chat()
        if not is_open:
            self.push_screen(page(self.desk))

    def _back_to_chat(self) -> None:
        while self.screen is not self.chat and len(self.screen_stack) > 1:
            self.pop_screen()
