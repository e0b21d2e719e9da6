"""What the commands of the table do in the chat; a method is called like its command."""

import asyncio
import time
from typing import TYPE_CHECKING

import platformdirs

from mlx_gemma4.errors import Gemma4Error

from ..conversation import export
from ..conversation.store import title_of
from ..desk import problem_of
from ..devices.screen_area import What

if TYPE_CHECKING:
    from .chat import ChatScreen


class Actions:
    """Acts on a chat.

    Args:
        chat: the screen.
    """

    def __init__(self, chat: "ChatScreen") -> None:
        self._chat = chat
        self._desk = chat.desk

    def do(self, name: str) -> None:
        """Do a command of the chat."""
        action = getattr(self, name, None)
        assert action is not None, f"{name} is in the table, and not here"
        action()

    # ---- the prompt and the answers

    def send(self) -> None:
        """Send what is written."""
        self._chat.prompt.action_send()

    def newline(self) -> None:
        """Begin a new line."""
        self._chat.prompt.action_new_line()

    def commands(self) -> None:
        """Begin a command."""
        self._chat.prompt.write("/")
        self._chat.prompt.focus()

    def files(self) -> None:
        """Begin a path."""
        self._chat.prompt.write("@")
        self._chat.prompt.focus()

    def edit(self) -> None:
        """Take the last question back into the prompt."""
        conversation = self._desk.conversation
        if conversation.can_redo:
            before = set(conversation.history.turns)
            words = conversation.edit()
            self._chat.prompt.write(words)
            self._chat.draw(before - set(conversation.history.turns))

    def regenerate(self) -> None:
        """Answer the last question once more."""
        self._chat.draw(self._desk.conversation.regenerate())

    def escape(self) -> None:
        """Stop what is going on; or close what is open: the ladder."""
        chat, conversation = self._chat, self._desk.conversation
        if chat.prompt.choosing:
            chat.offer([])
        elif conversation.recording is not None:
            if not chat.talking.hands_free:
                chat.talking.end()
            chat.draw(conversation.escape() or set())
        elif (changed := conversation.escape()) is not None:
            chat.draw(changed)
        elif chat.talking.active and not chat.talking.hands_free:
            chat.talking.end()
            chat.draw()
        elif (card := chat.transcript.last_card()) is not None:
            card.remove()

    def copy(self) -> None:
        """Put the last answer into the clipboard."""
        answer = self._desk.conversation.history.last("model")
        if answer is not None:
            self._chat.app.copy_to_clipboard(answer.text)
            self._chat.notify("The answer is in the clipboard.")

    def export(self) -> None:
        """Write the conversation as Markdown."""
        self._chat.busy(self._export())

    def trace(self) -> None:
        """Write what happened in the last turn."""
        path = self._desk.folder / time.strftime("trace-%Y%m%d-%H%M%S.json")
        try:
            self._desk.trace.save(path)
        except OSError as error:
            self._chat.problem(problem_of(error))
        else:
            self._chat.notify(f"{path} is written; open it at ui.perfetto.dev.")

    # ---- talking

    def talk(self) -> None:
        """Begin to record, or send what was recorded."""
        chat = self._chat
        if self._desk.conversation.recording is not None:
            chat.send(None)
        elif chat.talking.active:
            chat.talking.end()
            chat.draw()
        else:
            chat.draw(self._desk.conversation.stop())
            chat.talking.start(hands_free=False)
            chat.draw()

    talk_space = talk  # by a click, or by name: the key is the prompt's own

    def hands_free(self) -> None:
        """Listen all the time, or no more."""
        if self._chat.talking.hands_free:
            self._chat.talking.end()
            self._chat.draw(self._desk.conversation.discard())
        else:
            self._chat.talking.start(hands_free=True)
            self._chat.draw()

    def speak(self) -> None:
        """Read answers aloud, or no more."""
        on = not self._desk.settings.speak
        try:
            self._desk.change(speak=on)
        except (Gemma4Error, OSError) as error:
            self._chat.problem(problem_of(error))
        else:
            self._chat.notify("Answers are read aloud." if on else "Answers are silent.")

    # ---- pictures

    def screenshot(self) -> None:
        """Show a part of the screen."""
        self._capture("region")

    def window(self) -> None:
        """Show a window."""
        self._capture("window")

    def screen(self) -> None:
        """Show the whole screen."""
        self._capture("screen")

    def watch(self) -> None:
        """Watch the screen, or no more."""
        showing = self._chat.showing
        showing.watch(not showing.watching)
        self._chat.draw()

    def paste(self) -> None:
        """Attach what the clipboard holds."""
        nothing = "The clipboard holds neither a picture nor a file."
        self._chat.busy(self._chat.showing.clipboard(), nothing)

    def detail(self) -> None:
        """Show the last picture in more detail."""
        self._desk.conversation.detail()
        self._chat.draw()

    # ---- the program

    def new(self) -> None:
        """Begin a new conversation."""
        self._desk.new()
        self._chat.show_conversation()

    def mend(self) -> None:
        """Do what the newest card offers first."""
        if (card := self._chat.transcript.last_card()) is not None:
            self._chat.take(card.ways[0])

    def sample(self) -> None:
        """Attach the next sample."""
        self._chat.busy(self.next_sample())

    async def next_sample(self) -> str:
        """Attach the next sample, and tell what to do; at the end tell that."""
        chat = self._chat
        chat.tour.begin()
        await chat.showing.files(chat.tour.files)
        chat.draw()
        await chat.drawn()
        if chat.tour.words and not chat.prompt.words:
            chat.prompt.insert(chat.tour.words)
        await chat.transcript.note(chat.tour.remark)
        return ""

    def _capture(self, what: What) -> None:
        self._chat.busy(self._chat.showing.screen(what))

    async def _export(self) -> str:
        desk = self._desk
        folder = platformdirs.user_documents_path() / "gemma4"
        title = title_of(desk.journal.folder) if desk.conversation.history.turns else "empty"
        path = await asyncio.to_thread(
            export.write, desk.conversation.history, desk.journal.folder, title, folder
        )
        return f"{path} is written."
