"""The chat as it is drawn: the conversation, the prompt, and a line each for what goes on."""

import asyncio
import webbrowser
from collections.abc import Coroutine
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static

from mlx_gemma4.hub import catalog
from mlx_gemma4.runtime.trace import Trace

from .. import offers
from ..conversation.journaled import RECORDED
from ..devices.screen_watcher import ScreenChanged
from ..keys import of_the_chat
from ..messages import RunCommand
from ..state import Problem, Source
from ..tour import Tour
from ..widgets.card import Way
from ..widgets.footer import Footer
from ..widgets.prompt import PromptInput, as_typed
from ..widgets.status_bar import StatusBar
from ..widgets.suggestions import Suggestion, Suggestions
from ..widgets.talkbar import TalkBar
from ..widgets.transcript import Transcript
from ..workspace import Workspace
from . import cards, facts
from .media_input import MediaInput
from .voice_input import VoiceInput

PLACEHOLDER = "Type, or press space to talk · / commands · @ file"


class ChatView(Screen[None]):
    """The widgets of the chat, and how they are drawn."""

    BINDINGS: ClassVar[list[BindingType]] = [*of_the_chat()]
    AUTO_FOCUS = "#prompt"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.voice = VoiceInput(workspace)
        self.media = MediaInput(workspace, lambda seen: self.call_later(self.screen_seen, seen))
        self.tour = Tour()
        self.status_bar, self.transcript, self.talk_bar = StatusBar(), Transcript(), TalkBar()
        self.transcript.history = workspace.conversation.history
        self.transcript.media = workspace.journal.folder
        self.suggestions, self.prompt = Suggestions(), PromptInput(PLACEHOLDER)
        self.footer = Footer()
        self._drawn_draft: object = None
        self._drawing = self._wanted = self._other = False
        self._changed: set[int] = set()
        self._queue: list[tuple[str, set[int]]] = []  # words, and what was attached to them

    def compose(self) -> ComposeResult:
        yield self.status_bar
        yield self.transcript
        yield self.talk_bar
        yield self.suggestions
        with Horizontal(id="writing"):
            yield Static("❯")
            yield self.prompt
        yield self.footer

    @property
    def empty(self) -> bool:
        return not self.prompt.text.strip()

    @property
    def queued(self) -> list[str]:
        """The words of the questions that wait for an answer to end."""
        return [words for words, _ in self._queue]

    def _free(self) -> set[int]:
        """Return what waits, but goes with no question that is queued."""
        waiting = set(self.workspace.conversation.history.waiting)
        return waiting.difference(*(attached for _, attached in self._queue))

    def send(self, text: str) -> None:
        """Ask with these words; while an answer comes, queue them."""
        attached, state = self._free(), self.workspace.conversation.state
        if (text.strip() or attached) and state in ("thinking", "answering"):
            self._queue.append((text, attached))
            self.prompt.clear_sent()
            self.draw_lines()
        elif self._ask(text, attached) and (text or not self.voice.hands_free):
            self.prompt.clear_sent()

    def _ask(self, text: str, attached: set[int]) -> bool:
        self.voice.cut()
        changed = self.workspace.conversation.send(text, attached)
        if changed:
            self.workspace.trace = Trace()
        self.transcript.follow()
        self.draw(changed)
        return bool(changed)

    def send_queued(self) -> None:
        """Ask what was written while an answer came, unless somebody is about to speak."""
        free = self.workspace.conversation.state in ("ready", "reading", "speaking")
        if self._queue and free and (self.voice.hands_free or not self.voice.active):
            self._ask(*self._queue.pop(0))

    def take(self, way: Way) -> None:
        if way.command == "restart":
            self.workspace.client.start()
            self.workspace.conversation.start()
            self.draw()
        elif way.command.startswith("open "):
            webbrowser.open(way.command.removeprefix("open "))
        elif way.command != "close":
            name, _, argument = way.command.partition(" ")
            self.app.post_message(RunCommand(name, argument))

    async def screen_seen(self, seen: ScreenChanged | Problem) -> None:
        if isinstance(seen, ScreenChanged):
            await self.work(self.media.seen(seen.shot, seen.at), "screen")
        else:
            self.media.watch(False)
            self.problem(seen)
            self.draw()

    def show_conversation(self) -> None:
        self._other = True
        self.prompt.remember()
        self.prompt.clear_sent()
        queued = "\n".join(filter(None, self.queued))  # it was not written for this one
        self.prompt.insert(as_typed(queued))
        self._queue.clear()
        if self.media.watching:
            self.media.watch(True)  # it has not been seen here
        self.voice.change_conversation()
        self.prompt.focus()
        self.draw()

    def draw(self, changed: set[int] | None = None) -> None:
        """Draw what has changed, soon: turns, errors, what waits, and the lines.

        One Textual worker draws: an older state never comes last, and no message waits for it.
        """
        self._changed |= changed or set()
        self._wanted = True
        if not self._drawing:
            self._drawing = True
            self.run_worker(self._draw(), group="drawing")

    async def drawn(self) -> None:
        """Wait until all that has changed is drawn; for Textual's workers alone."""
        while self._drawing:
            await asyncio.sleep(0.01)

    async def _draw(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                changed, self._changed = self._changed, set()
                if self._other:
                    self._other, self._drawn_draft = False, None
                    held = self.workspace.conversation
                    await self.transcript.open(held.history, held.journal.folder)
                await self._draw_changes(changed)
                self.draw_lines()
        finally:
            self._drawing = False

    async def _draw_changes(self, changed: set[int]) -> None:
        conversation = self.workspace.conversation
        hint = facts.hint(self.workspace, "regenerate", "answers again")
        await self.transcript.update(changed, hint)
        while conversation.works:
            await self.transcript.withdraw(conversation.works.pop())
        while conversation.problems:
            await self.show_problem(conversation.problems.popleft())
        waiting = tuple(conversation.history.waiting.values())
        if waiting != self._drawn_draft:
            self._drawn_draft = waiting
            hint = facts.hint(self.workspace, "detail", "more detail")
            await self.transcript.draft(waiting, hint)
            free = self._free()
            own = {
                one.id: one.chip
                for one in waiting
                if one.id in free
                and one.id != conversation.watched
                and (one.name != RECORDED or conversation.recording is None)
            }
            self.prompt.wait(own)

    def problem(self, problem: Problem) -> None:
        self.run_worker(self.show_problem(problem))

    def works(self, source: Source) -> None:
        """Withdraw the errors about something that works again."""
        self.run_worker(self.transcript.withdraw(source))

    async def show_problem(self, problem: Problem) -> None:
        """Show an error; one card for each code."""
        await self.transcript.show_problem(problem, cards.ways(self.workspace, problem))

    async def offer_model(self) -> None:
        """Offer the 12B where it is not here and not on its way."""
        if self.workspace.job is None and catalog.default() == catalog.DEMONSTRATION:
            offer = await asyncio.to_thread(offers.model, self.workspace.machine)
            if offer is not None:
                await self.show_problem(offer)

    def busy(self, work: Coroutine[Any, Any, str | None], source: Source = "") -> None:
        """Start something that takes a while, as `work` does it."""
        self.run_worker(self.work(work, source))

    async def work(self, work: Coroutine[Any, Any, str | None], source: Source = "") -> None:
        """Do something, and show its remark, or its error, which is about `source`."""
        try:
            remark = await work
        except Exception as error:  # it never ends the program
            await self.show_problem(Problem.of(error, source))
        else:
            if source:
                await self.transcript.withdraw(source)
            if remark:
                self.notify(remark)
        self.draw()

    def draw_lines(self) -> None:
        if not self.is_mounted:
            return
        self.status_bar.status = facts.status(
            self.workspace,
            self.media.watching,
            self.voice.hands_free,
            len(self._queue),
            self.media.choosing,
        )
        self.talk_bar.talk = self.voice.status()
        self.footer.keys = facts.footer(self.workspace, self.empty)

    def offer(self, suggestions: list[Suggestion]) -> None:
        """Show suggestions; an empty list hides them."""
        self.suggestions.offer(suggestions, choose=self.prompt.words not in ("/", "@"))
        self.prompt.choosing = bool(suggestions)
