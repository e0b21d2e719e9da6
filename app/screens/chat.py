"""The chat: the conversation above, the prompt below, and a line each for what is going on."""

import asyncio
import webbrowser
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import Static, TextArea

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.trace import Trace

from .. import messages as told
from ..conversation.ledger import RECORDED
from ..desk import Desk, problem_of
from ..keys import of_the_chat
from ..showing import Showing
from ..state import Problem
from ..talking import Talking
from ..tour import WELCOME, Tour
from ..widgets.card import Card, Way
from ..widgets.footer import Footer
from ..widgets.gauges import Gauges
from ..widgets.prompt import Prompt
from ..widgets.suggestions import Suggestion, Suggestions, of_commands, of_files
from ..widgets.talkbar import TalkBar
from ..widgets.transcript import Transcript
from . import facts
from .actions import Actions

if TYPE_CHECKING:
    from ..app import TerminalApp

PLACEHOLDER = "Type, or press space to talk · / commands · @ file"


class ChatScreen(Screen[None]):
    """The main screen.

    Args:
        desk: what all screens share.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*of_the_chat()]
    AUTO_FOCUS = "#prompt"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.talking = Talking(desk, self.post_message)
        self.showing = Showing(desk, self.post_message)
        self.tour = Tour()
        self.gauges, self.transcript, self.talk_bar = Gauges(), Transcript(), TalkBar()
        self.suggestions, self.prompt, self.footer = Suggestions(), Prompt(PLACEHOLDER), Footer()
        self._actions = Actions(self)
        self._drawn_draft: object = None
        self._drawing = self._wanted = self._other = False
        self._changed: set[int] = set()

    def compose(self) -> ComposeResult:
        """From above to below."""
        yield self.gauges
        yield self.transcript
        yield self.talk_bar
        yield self.suggestions
        with Horizontal(id="writing"):
            yield Static("❯")
            yield self.prompt
        yield self.footer

    async def on_mount(self) -> None:
        """Begin the conversation, and help a newcomer."""
        self.desk.voice_changed = lambda: self.post_message(told.SpeakerChanged())
        for warning in self.desk.warnings:
            await self.transcript.note(warning)
        if self.desk.settings.speak:
            self._speak()
        self.desk.begin()
        self.draw()
        self.run_worker(self._look_at_machine())
        if self.desk.first:
            self.desk.write_settings_once()
            await self.transcript.note(WELCOME)
            self.do("sample")

    def close(self) -> None:
        """Let go of the microphone and the screen."""
        self.talking.end()
        self.showing.watch(False)

    @property
    def program(self) -> "TerminalApp":
        """The program."""
        return cast("TerminalApp", self.app)

    @property
    def empty(self) -> bool:
        """Whether nothing is in the prompt."""
        return not self.prompt.text.strip()

    # ---- what threads tell

    async def on_reports(self, message: told.Reports) -> None:
        """Take in what the engine tells, many reports at once."""
        changed: set[int] = set()
        before = self.desk.conversation.state
        for report in message.reports:
            self.desk.trace.add(report)
            changed |= self.desk.conversation.fold(report)
        self.draw(changed)
        if before in ("thinking", "answering") and self.desk.conversation.state == "ready":
            self._tour_on()

    async def on_opened(self, message: told.Opened) -> None:
        """The microphone is there."""
        self.talking.opened(message)
        self._draw_lines()

    async def on_frames(self, message: told.Frames) -> None:
        """Something is heard."""
        changed = self.talking.heard(message)
        if changed:
            self.draw(changed)
        elif self.talking.due:
            self._draw_lines()

    def on_paused(self) -> None:
        """Somebody has spoken and is silent."""
        if self.desk.conversation.recording is None:
            return
        if self.talking.hands_free:
            self.send("")
        else:
            self.talking.end()  # the prompt takes a moment: nothing that comes meanwhile is heard
            self.send(None)

    def on_lost(self, message: told.Lost) -> None:
        """The microphone has gone, or cannot be opened."""
        problem = self.talking.lost(message)
        if problem is None:
            self.notify(f"{message.problem.title}. It is being opened again.")
        else:
            self.problem(problem)

    def on_silent(self, message: told.Silent) -> None:
        """The microphone gives only zeros."""
        self.problem(message.problem)

    async def on_seen(self, message: told.Seen) -> None:
        """The screen has changed."""
        await self.showing.seen(message.shot, message.at)
        self.draw()

    def on_blind(self, message: told.Blind) -> None:
        """The screen cannot be watched."""
        self.showing.watch(False)
        self.problem(message.problem)

    def on_speaker_changed(self) -> None:
        """The voice begins or ends."""
        speaker = self.desk.speaker
        if speaker is not None and speaker.problem is not None:
            self.problem(Problem.of(speaker.problem))
        self._draw_lines()

    # ---- what the prompt tells

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Send it."""
        self.send(message.text)

    def on_prompt_talk(self) -> None:
        """Space on an empty prompt."""
        self.do("talk")

    def on_prompt_files(self, message: Prompt.Files) -> None:
        """Paths were pasted."""
        self.busy(self.showing.files(message.paths))

    def on_prompt_pasted(self) -> None:
        """Something without text was pasted."""
        self.do("paste")

    async def on_prompt_detached(self, message: Prompt.Detached) -> None:
        """A chip was deleted."""
        for number in message.attachments:
            self.desk.conversation.detach(number)
        self.draw()

    def on_prompt_choosing(self, message: Prompt.Choosing) -> None:
        """A key for the suggestions."""
        if message.key in ("up", "down"):
            move = self.suggestions.action_cursor_up, self.suggestions.action_cursor_down
            move[message.key == "down"]()
            return
        chosen = self.suggestions.chosen
        self.offer([])
        if chosen is None:
            return
        if chosen.command:
            self.prompt.write("")
            self.program.do(chosen.command)
        elif chosen.path is not None and chosen.path.is_dir():
            self.prompt.write(f"@{chosen.path}/")
        elif chosen.path is not None:
            self.prompt.write("")
            self.busy(self.showing.files([chosen.path]))

    @on(TextArea.Changed, "#prompt")
    def _suggest(self) -> None:
        text = self.prompt.text
        if "\n" not in text and text.startswith("/"):
            situation = self.desk.conversation.situation(True)
            self.offer(of_commands(text, situation) if " " not in text else [])
        elif "\n" not in text and text.startswith("@"):
            self.offer(of_files(text))
        else:
            self.offer([])
        self._draw_lines()

    def on_card_taken(self, message: Card.Taken) -> None:
        """Take a way out of an error."""
        self.take(message.way)

    # ---- what commands do

    def do(self, name: str) -> None:
        """Do a command of the chat."""
        self._actions.do(name)

    def send(self, text: str | None) -> None:
        """Ask: with these words, or None for what is written."""
        if text is None:
            self.prompt.action_send()  # it comes back as `Prompt.Sent`
            return
        if not self.talking.hands_free:
            self.talking.end()
        self.desk.trace = Trace()
        changed = self.desk.conversation.send(text)
        if changed and not self.talking.hands_free:
            self.prompt.clear_sent()
        self.transcript.follow()
        self.draw(changed)

    def take(self, way: Way) -> None:
        """Take a way out of an error."""
        command = way.command
        if command == "restart":
            self.desk.engine.start()
            self.desk.begin()
            self.draw()
        elif command.startswith("open "):
            webbrowser.open(command.removeprefix("open "))
        elif command != "close":
            self.program.do(command)

    def show_conversation(self) -> None:
        """Show the conversation that is held now."""
        self._other = True
        self.prompt.focus()
        self.draw()

    # ---- drawing

    def draw(self, changed: set[int] | None = None) -> None:
        """Draw what has changed, soon: turns, errors, what waits, and the lines.

        One worker draws, so that an older state never comes last and no message waits for it.
        """
        self._changed |= changed or set()
        self._wanted = True
        if not self._drawing:
            self._drawing = True
            self.run_worker(self._draw(), group="drawing")

    async def drawn(self) -> None:
        """Wait until all that has changed is drawn; for workers alone."""
        while self._drawing:
            await asyncio.sleep(0.01)

    async def _draw(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                changed, self._changed = self._changed, set()
                if self._other:
                    await self._open()
                await self._draw_changes(changed)
                self._draw_lines()
        except NoMatches:
            if self.app.is_running:  # else the widgets are gone, for the program ends
                raise
        finally:
            self._drawing = False

    async def _open(self) -> None:
        """Show another conversation from its end."""
        self._other = False
        self._drawn_draft = None
        self.prompt.clear_sent()
        await self.transcript.open(self.desk.conversation.history, self.desk.journal.folder)

    async def _draw_changes(self, changed: set[int]) -> None:
        conversation, media = self.desk.conversation, self.desk.journal.folder
        await self.transcript.update(
            conversation.history,
            changed,
            media,
            facts.hint(self.desk, "regenerate", "answers again"),
        )
        while conversation.problems:
            await self._card(conversation.problems.popleft())
        waiting = tuple(conversation.history.waiting.values())
        if waiting != self._drawn_draft:
            self._drawn_draft = waiting
            await self.transcript.draft(
                conversation.history, media, facts.hint(self.desk, "detail", "more detail")
            )
            own = {
                one.id: one.chip
                for one in waiting
                if one.id != self.showing.watched
                and (one.name != RECORDED or conversation.recording is None)
            }
            self.prompt.wait(own)

    def problem(self, problem: Problem) -> None:
        """Show an error."""
        self.run_worker(self._card(problem))

    def busy(self, work: Coroutine[Any, Any, str | None], nothing: str = "") -> None:
        """Do something that takes a while, and tell what came of it.

        Args:
            work: gives a remark, or None where nothing was found.
            nothing: what to say then.
        """
        self.run_worker(self._work(work, nothing))

    async def _work(self, work: Coroutine[Any, Any, str | None], nothing: str) -> None:
        try:
            remark = await work
        except (Gemma4Error, OSError) as error:
            await self._card(problem_of(error))
        else:
            if words := nothing if remark is None else remark:
                self.notify(words)
        self.draw()

    async def _card(self, problem: Problem) -> None:
        ways = facts.ways(self.desk, problem)
        await self.transcript.add(Card(problem.title, problem.cause, problem.remedy, ways))

    def _draw_lines(self) -> None:
        if not self.is_mounted:
            return
        self.gauges.gauge = facts.gauge(self.desk, self.showing.watching)
        talk = self.talking.talk()
        if self.talking.hands_free:
            question = self.desk.conversation.history.last("user")
            talk = replace(talk, heard=question.heard if question else "")
        self.talk_bar.talk = talk
        self.footer.keys = facts.footer(self.desk, self.empty)

    def offer(self, suggestions: list[Suggestion]) -> None:
        """Show suggestions; none hides them."""
        self.suggestions.offer(suggestions)
        self.prompt.choosing = bool(suggestions)

    async def _look_at_machine(self) -> None:
        self.desk.machine = await asyncio.to_thread(self.desk.devices.machine)
        self._draw_lines()

    def _speak(self) -> None:
        try:
            self.desk.read_aloud(True)
        except Gemma4Error as error:
            self.problem(Problem.of(error))

    def _tour_on(self) -> None:
        if self.tour.step is not None:
            self.do("sample")
