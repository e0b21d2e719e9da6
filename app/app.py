"""The terminal program: its screens, its keys, and the commands that any screen has."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.segment import Segment
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.color import Color
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widget import MountError
from textual.worker import WorkerFailed

from mlx_gemma4.runtime.reports import Failed, Report
from mlx_gemma4.runtime.threads import start_thread

from . import commands, messages, offers
from .keys import NO_KEY, everywhere
from .report_reader import read_reports
from .screens.chat import ChatScreen
from .screens.doctor import DoctorScreen
from .screens.help import HelpScreen
from .screens.log import LogScreen
from .screens.models import ModelsScreen
from .screens.page import PageScreen
from .screens.quitting import QuitScreen
from .screens.sessions import SessionsScreen
from .screens.settings import SettingsScreen
from .screens.voices import VoicesScreen
from .state import Download, Problem
from .widgets import drawn
from .workspace import Workspace

AGAIN = 2.0
"""Seconds within which a second Ctrl+C ends the program."""
CLOSING = 5.0
"""Seconds that the worker's last reports are waited for."""

SCREENS: dict[str, type[PageScreen]] = {
    "resume": SessionsScreen,
    "model": ModelsScreen,
    "settings": SettingsScreen,
    "voices": VoicesScreen,
    "doctor": DoctorScreen,
    "log": LogScreen,
    "help": HelpScreen,
}


class PlainLetters(LineFilter):
    """Has nothing drawn that a terminal would obey; the commands of pictures are no letters."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [one if one.control else Segment(drawn(one.text), one.style) for one in segments]


_PLAIN_LETTERS = PlainLetters()  # one: Textual keeps filtered lines by their filter


class TerminalApp(App[None]):
    """The program; `workspace` is closed at the end, and the worker with it."""

    TITLE = "gemma4"
    CSS_PATH = Path(__file__).parent / "styles" / "app.tcss"
    ENABLE_COMMAND_PALETTE = False  # its key is in the table, as all others
    BINDINGS = [*everywhere(), Binding("ctrl+c", "ask_quit", show=False, system=True)]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.use_command_palette = True
        self.workspace = workspace
        self.theme = f"textual-{workspace.settings.theme}"
        self._asked = 0.0  # when Ctrl+C was pressed last
        self._reader: threading.Thread | None = None

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), _PLAIN_LETTERS]

    def on_mount(self) -> None:
        keys = self.workspace.keys
        self.set_keymap({name: ",".join(own) or NO_KEY for name, own in keys.items()})
        self.chat = ChatScreen(self.workspace)
        self.push_screen(self.chat)
        if (left := self.workspace.take_interrupted()) is not None:
            self.post_message(messages.StartJob(*left))
        self._reader = start_thread(
            lambda: read_reports(self.workspace.client, self._take), "report reader", self._unread
        )
        # SIGTERM: exit, else the terminal stays as it is now. SIGHUP: its default, also where nohup
        # ignored it: there is no terminal left, and Textual's thread that reads it would go on for
        # ever.
        with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGTERM, self.exit, None, 128 + signal.SIGTERM
            )

    def _handle_exception(self, error: Exception) -> None:
        """End the program because of an error, unless it ends already and its widgets are gone."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        ends = self._exit or not self.is_running
        if not (ends and isinstance(cause, NoMatches | MountError)):
            super()._handle_exception(error)

    def do(self, name: str, argument: str = "") -> None:
        if name in SCREENS and not argument:
            self._open(SCREENS[name])
        elif name == "palette":
            self.action_command_palette()
        elif name == "quit":
            self._quit()
        elif name == "theme":
            other = {"dark": "light", "light": "dark"}[self.workspace.settings.theme]
            try:
                self.workspace.change(theme=other)
            except OSError as error:
                self.chat.problem(Problem.of(error, "disk"))
            self.theme = f"textual-{other}"
        else:
            self._back_to_chat()
            self.chat.do(name, argument)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """As Textual's, but never as markup: what was typed, or a path, may have brackets."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def _quit(self) -> None:
        """End the program; while a model is on its way, ask first."""
        job = self.workspace.job
        if job is None:
            self.exit()
        elif not isinstance(self.screen, QuitScreen):
            self.push_screen(QuitScreen(job.at), lambda quits: self.exit() if quits else None)

    def action_do(self, name: str) -> None:
        self.do(name)

    def action_ask_quit(self) -> None:
        before, self._asked = self._asked, time.monotonic()
        if self._asked - before < AGAIN:
            self._quit()
        else:
            self.notify("Press Ctrl+C again to quit.", timeout=AGAIN)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        situation = self.workspace.conversation.situation(self.chat.empty)
        for command in commands.COMMANDS:
            if command.group != commands.PROMPT and commands.available(command, situation):
                yield SystemCommand(command.title, command.help, lambda c=command: self.do(c.id))

    def on_run_command(self, message: messages.RunCommand) -> None:
        self.do(message.command, message.argument)

    def on_show_problem(self, message: messages.ShowProblem) -> None:
        self.chat.problem(message.problem)

    def on_start_job(self, message: messages.StartJob) -> None:
        if self.workspace.job is not None:
            self.notify("One model comes at a time.")
            return

        def on_progress(at: Download | None) -> None:
            with contextlib.suppress(RuntimeError):  # the program has ended
                self.call_later(self._job_changed, at is None)

        self.chat.works("job")
        try:
            self.workspace.bring(message.model, message.recipe, on_progress)
        except OSError as error:
            self.chat.problem(Problem.of(error, "job"))
        self._show_job()

    def _job_changed(self, ended: bool) -> None:
        job = self.workspace.job_ended() if ended else None
        self._show_job()
        if job is not None and job.folder:
            self.chat.problem(offers.ready(job.name))
        elif job is not None and job.problem is not None:
            self.chat.problem(job.problem)

    def _show_job(self) -> None:
        """Show the job's progress on every screen."""
        self.chat.draw_lines()
        for screen in self.screen_stack:
            if isinstance(screen, PageScreen) and screen.is_mounted:
                screen.job_changed()

    async def on_unmount(self) -> None:
        self.chat.close()
        self.workspace.close()

    def end_worker(self) -> None:
        """End the worker, which may take seconds: the terminal has its screen back by then."""
        self.workspace.client.close()
        if self._reader is not None:
            self._reader.join(CLOSING)

    def _take(self, reports: list[Report]) -> None:
        if shown := self.workspace.take(reports):
            with contextlib.suppress(RuntimeError):  # the program has ended: nobody looks any more
                self.chat.post_message(messages.Reports(shown))

    def _unread(self, failed: Failed) -> None:
        with contextlib.suppress(RuntimeError):
            self.post_message(messages.ShowProblem(Problem.of(failed, "model")))

    def _open(self, page: type[PageScreen]) -> None:
        """Open a page over the chat, or close it if it is open."""
        shown = self.screen
        self._back_to_chat()
        if not isinstance(shown, page):
            self.push_screen(page(self.workspace))

    def _back_to_chat(self) -> None:
        while self.screen is not self.chat and len(self.screen_stack) > 1:
            self.pop_screen()
