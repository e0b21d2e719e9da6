"""The chat: what comes from threads, from the prompt and from cards, and what is done about it."""

import asyncio
import re

import numpy as np
from numpy.typing import NDArray
from textual import events, on
from textual.widgets import TextArea

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog
from mlx_gemma4.runtime.live import LiveObserver
from mlx_gemma4.runtime.reports import Failed

from .. import commands, messages, offers
from ..conversation.store import title_of
from ..devices import permissions
from ..messages import RunCommand
from ..state import Problem
from ..tour import GREETING, WELCOME
from ..widgets.card import CLOSE, ErrorCard
from ..widgets.prompt import PromptInput
from ..widgets.suggestions import of_commands, of_files
from ..workspace import Workspace
from .actions import ChatActions
from .chat_view import ChatView

_COMMAND = re.compile(r"/(\S*)\s*(.*)", re.DOTALL)


class ChatScreen(ChatView):
    """The main screen."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._actions = ChatActions(self)
        self.voice.observer = MicrophoneObserver(self)

    async def on_mount(self) -> None:
        self.media.notify, self.media.came = self.notify, self.draw
        self.media.insert = lambda text: self.prompt.post_message(events.Paste(text))
        self.workspace.speech_changed = lambda: self.call_later(self._speech_changed)
        for warning in self.workspace.warnings:
            await self.transcript.note(warning)
        if self.workspace.settings.speak:
            try:
                self.workspace.read_aloud(True)
            except Gemma4Error as error:
                self.problem(Problem.of(error, "voice"))
        self.workspace.conversation.start()
        if self.workspace.settings.serve:
            self.do("serve")
        self.draw()
        self.busy(self._look_at_machine())
        if before := self.workspace.note_running():
            title = title_of(self.workspace.store.folder / before)
            await self.show_problem(offers.crashed(before, title))
        if self.workspace.first:
            try:
                self.workspace.write_settings_once()
            except OSError as error:
                self.problem(Problem.of(error, "disk"))
            tiny = self.workspace.conversation.model_name == catalog.DEMONSTRATION
            await self.transcript.note(WELCOME if tiny else GREETING)
            self.do("sample")

    def close(self) -> None:
        """Close the microphone, and stop watching the screen."""
        self.voice.end()
        self.media.watch(False)

    def do(self, name: str, argument: str = "") -> None:
        self._actions.do(name, argument)

    # ---- what threads report

    async def on_reports(self, message: messages.Reports) -> None:
        before = self.workspace.conversation.state
        for report in message.reports:
            self.workspace.trace.add(report)
        self.draw(self.workspace.conversation.fold(message.reports))
        if before == "listening" and self.workspace.conversation.recording is None:
            self.voice.cut()  # the worker has crashed: what was recorded waits
        self.voice.mute()
        self.send_queued()
        ready = self.workspace.conversation.state == "ready"
        if before in ("thinking", "answering") and ready and self.tour.goes_on:
            self.do("sample")

    def microphone_opened(self, device: str) -> None:
        self.voice.device = device
        self.works("microphone")
        self.draw_lines()

    def microphone_level(self, level: float) -> None:
        self.voice.sounded(level)
        if self.voice.due:
            self.draw_lines()

    def microphone_silent(self, silent: bool) -> None:
        if not silent:
            self.works("microphone")
        elif self.voice.active:
            self.problem(Problem.of(permissions.microphone(self.voice.device), "microphone"))

    def microphone_lost(self, failed: Failed) -> None:
        if self.voice.reopen(failed.code):
            self.notify(f"{failed.title}. It is being opened again.")
        elif failed.code == "worker_not_running":  # why has a card, or had one
            self.notify(f"{failed.title}.")
        else:
            self.problem(Problem.of(failed, "microphone"))
        self.draw()
        self.send_queued()

    def _speech_started(self) -> None:
        if self.voice.hears_itself:  # it speaks since that was heard
            self.voice.cut()
        elif self.voice.active:  # it may have been closed since
            self.draw(self.workspace.conversation.start_recording())

    def _speech_ended(self) -> None:
        """Send what was recorded: somebody has spoken and is silent."""
        if not self.voice.active or self.workspace.conversation.recording is None:
            return
        if self.voice.hands_free:
            self.send("")
        else:
            self.voice.end()
            self.prompt.action_send()  # it comes back as `PromptInput.Sent`

    def _speech_changed(self) -> None:
        speech = self.workspace.speech
        if speech is not None and speech.problem is not None:
            self.problem(Problem.of(speech.problem, "voice"))
        elif speech is not None and speech.speaking:
            self.works("voice")
        self.voice.mute()
        self.draw_lines()

    # ---- what the prompt reports

    def on_prompt_input_sent(self, message: PromptInput.Sent) -> None:
        if re.match("/(?!/)", message.text):
            self._typed(message.text)
        else:
            self.send(message.text.removeprefix("/"))  # two slashes send one

    def _typed(self, text: str) -> None:
        found = _COMMAND.fullmatch(text)
        assert found is not None
        name, argument = found[1], found[2].strip()
        situation = self.workspace.conversation.situation(True)
        wrong = commands.refused(name, argument, situation)
        if wrong:
            self.notify(wrong, severity="error")
            return
        self.prompt.write_words("")
        self.app.post_message(RunCommand(name, argument))

    def on_prompt_input_attached(self, message: PromptInput.Attached) -> None:
        pasted = message.pasted
        work = self.media.attach(pasted) if isinstance(pasted, str) else self.media.files(pasted)
        self.busy(work, "file")

    async def on_prompt_input_chips_deleted(self, message: PromptInput.ChipsDeleted) -> None:
        for number in message.attachments:
            self.workspace.conversation.detach(number)
        self.draw()

    def on_prompt_input_choosing(self, message: PromptInput.Choosing) -> None:
        if message.key in ("up", "down"):
            move = self.suggestions.action_cursor_up, self.suggestions.action_cursor_down
            move[message.key == "down"]()
            return
        chosen = self.suggestions.chosen
        if chosen is None:
            self.notify("Go to one with the arrow keys, or type its name.")
            return
        self.offer([])
        if chosen.command:
            takes = commands.BY_ID[chosen.command].argument
            if takes and message.key == "tab":
                self.prompt.write_words(f"/{chosen.command} ")
                return
            self.prompt.write_words("")
            self.app.post_message(RunCommand(chosen.command))
        elif chosen.path is not None and chosen.label.endswith("/"):  # a folder
            self.prompt.write_words(f"@{chosen.path}/")
        elif chosen.path is not None:
            self.prompt.write_words("")
            self.busy(self.media.files([chosen.path]), "file")

    @on(TextArea.Changed, "#prompt")
    def _suggest(self) -> None:
        text = self.prompt.without_chips
        if "\n" not in text and text.startswith("/"):
            situation = self.workspace.conversation.situation(True)
            self.offer(of_commands(text, situation) if " " not in text else [])
        elif "\n" not in text and text.startswith("@"):
            self.offer(of_files(text))
        else:
            self.offer([])
        self.draw_lines()

    def on_error_card_taken(self, message: ErrorCard.Taken) -> None:
        if message.way is CLOSE:
            self.run_worker(self.transcript.close(message.card))
        else:
            self.take(message.way)

    async def _look_at_machine(self) -> None:
        self.workspace.machine = await asyncio.to_thread(self.workspace.devices.machine)


class MicrophoneObserver(LiveObserver):
    """Passes on what a `Live` sees, from its thread.

    An answer must be stopped before the worker is sent what is spoken, and asked for after it:
    those two calls wait for the interface.
    """

    def __init__(self, chat: ChatScreen) -> None:
        self._chat = chat

    def opened(self, name: str) -> None:
        self._chat.call_later(self._chat.microphone_opened, name)

    def level(self, decibels: float) -> None:
        self._chat.call_later(self._chat.microphone_level, decibels)

    def speech_started(self) -> None:
        self._chat.app.call_from_thread(self._chat._speech_started)

    def heard(self, frames: NDArray[np.float32]) -> None:
        self._chat.voice.record(frames)

    def ended(self) -> None:
        self._chat.app.call_from_thread(self._chat._speech_ended)

    def silent(self, silent: bool) -> None:
        self._chat.call_later(self._chat.microphone_silent, silent)

    def lost(self, failed: Failed) -> None:
        self._chat.call_later(self._chat.microphone_lost, failed)
