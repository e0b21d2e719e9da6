"""What the commands of the table do in the chat; each method is named after its command's id."""

import asyncio
import time
from functools import partial
from pathlib import Path

import platformdirs

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog

from ..conversation import export
from ..conversation.store import title_of
from ..messages import StartJob
from ..state import Problem, ScreenArea, Source
from ..widgets.card import CLOSE, ErrorCard
from ..widgets.prompt import as_typed
from .chat_view import ChatView


class ChatActions:
    def __init__(self, chat: ChatView) -> None:
        self._chat = chat
        self._workspace = chat.workspace
        self.send, self.newline = chat.prompt.action_send, chat.prompt.action_new_line
        view = chat.transcript
        self.page_up = partial(view.scroll_page_up, animate=False)
        self.page_down = partial(view.scroll_page_down, animate=False)
        self.line_up = partial(view.scroll_up, animate=False)
        self.line_down = partial(view.scroll_down, animate=False)
        self.newest = view.follow

    def do(self, name: str, argument: str = "") -> None:
        action = getattr(self, name, None)
        assert action is not None, f"{name} is in the table, and not here"
        action(argument) if argument else action()

    # ---- the prompt and the answers

    def commands(self) -> None:
        self._chat.prompt.write_words("/")
        self._chat.prompt.focus()

    def files(self) -> None:
        self._chat.prompt.write_words("@")
        self._chat.prompt.focus()

    def edit(self) -> None:
        conversation = self._workspace.conversation
        if conversation.can_redo:
            before = set(conversation.history.turns)
            words = conversation.edit()
            self._chat.prompt.remember()
            self._chat.prompt.write_words(as_typed(words))
            self._chat.draw(before - set(conversation.history.turns))

    def regenerate(self) -> None:
        self._chat.draw(self._workspace.conversation.regenerate())

    def escape(self) -> None:
        chat, conversation = self._chat, self._workspace.conversation
        if chat.prompt.choosing:
            chat.offer([])
        elif conversation.recording is not None:
            chat.voice.cut()
            chat.draw(conversation.escape() or set())
        elif (changed := conversation.escape()) is not None:
            chat.draw(changed)
        elif chat.voice.active and not chat.voice.hands_free:
            chat.voice.end()
            chat.draw()
            chat.send_queued()
        elif (card := chat.transcript.last_card()) is not None:
            chat.run_worker(chat.transcript.close(card))

    def copy(self) -> None:
        answer = self._workspace.conversation.history.last("model")
        if answer is None or not answer.text:
            self._chat.notify("There is no answer to copy yet.")
        else:
            self._chat.app.copy_to_clipboard(answer.text)
            self._chat.notify("The answer is in the clipboard.")

    def serve(self) -> None:
        self._chat.busy(self._serve(), "server")

    def export(self, path: str = "") -> None:
        self._chat.busy(self._export(path), "export")

    def trace(self) -> None:
        self._chat.busy(self._trace(), "export")

    # ---- talking

    def talk(self) -> None:
        chat = self._chat
        if self._workspace.conversation.recording is not None:
            chat.prompt.action_send()
        elif chat.voice.active:
            chat.voice.end()
            chat.draw()
            chat.send_queued()
        else:
            chat.draw(self._workspace.conversation.stop())
            chat.voice.start(hands_free=False)
            chat.draw()

    talk_space = talk  # by a click, or by name: the key is the prompt's own

    def hands_free(self) -> None:
        if self._chat.voice.hands_free:
            self._chat.voice.end()
            self._chat.draw(self._workspace.conversation.discard())
        else:
            self._chat.voice.start(hands_free=True)
            self._chat.draw()

    def speak(self) -> None:
        on = not self._workspace.settings.speak
        try:
            self._workspace.change(speak=on)
        except (Gemma4Error, OSError) as error:
            source: Source = "disk" if isinstance(error, OSError) else "voice"
            self._chat.problem(Problem.of(error, source))
        else:
            self._chat.works("voice")
            self._chat.notify("Answers are read aloud." if on else "Answers are silent.")

    # ---- pictures

    def screenshot(self) -> None:
        self._capture("region")

    def window(self) -> None:
        self._capture("window")

    def screen(self) -> None:
        self._capture("screen")

    def watch(self) -> None:
        media = self._chat.media
        media.watch(not media.watching)
        self._chat.draw()

    def paste(self) -> None:
        self._chat.busy(self._chat.media.clipboard(), "file")

    def detail(self) -> None:
        self._workspace.conversation.detail()
        self._chat.draw()

    # ---- the program

    def new(self) -> None:
        self._workspace.new()
        self._chat.show_conversation()

    def resume(self, name: str) -> None:
        self._chat.busy(self._resume(name))

    def model(self, name: str) -> None:
        self._chat.busy(self._load(name), "model")

    def get(self, name: str = "") -> None:
        self._chat.app.post_message(StartJob(name or catalog.USUAL))
        self._close_cards("model_offer", "model_missing")

    def fix(self) -> None:
        card = self._chat.transcript.last_card()
        if card is None or card.ways[0] is CLOSE:
            self._chat.notify("No card offers anything to do.")
        else:
            self._chat.take(card.ways[0])

    def sample(self) -> None:
        self._chat.busy(self.next_sample(), "file")

    async def next_sample(self) -> str:
        chat = self._chat
        files, words, remark = chat.tour.next()
        await chat.media.files(files)
        chat.draw()
        await chat.drawn()
        if words and not chat.prompt.words:
            chat.prompt.insert(words)
        await chat.transcript.note(remark)
        if not chat.tour.goes_on:
            await chat.offer_model()
        return ""

    def _close_cards(self, *codes: str) -> None:
        transcript = self._chat.transcript
        found = [card for card in transcript.query(ErrorCard) if card.problem.code in codes]
        self._chat.run_worker(transcript.close(*found))

    def _capture(self, area: ScreenArea) -> None:
        self._chat.busy(self._chat.media.screen(area), "screen")

    async def _resume(self, name: str) -> str:
        self._workspace.change_to(await asyncio.to_thread(self._workspace.open, name))
        self._close_cards("program_crashed")
        self._chat.show_conversation()
        return ""

    async def _load(self, name: str) -> str:
        try:
            await self._workspace.load(name)
        except OSError as error:  # it is loaded, and not in the settings
            self._chat.problem(Problem.of(error, "disk"))
        self._close_cards("model_ready")
        return ""

    async def _serve(self) -> str:
        workspace = self._workspace
        if workspace.server is not None:
            await asyncio.to_thread(workspace.end_server)
            return "Other programs cannot use the model any more."
        address = await asyncio.to_thread(workspace.serve)
        return f"Other programs can use the model at {address}; /serve ends it."

    async def _trace(self) -> str:
        path = self._workspace.folder / time.strftime("trace-%Y%m%d-%H%M%S.json")
        self._workspace.trace.save(path)
        return f"{path} is written; open it at ui.perfetto.dev."

    async def _export(self, where: str) -> str:
        workspace = self._workspace
        folder = platformdirs.user_documents_path() / "gemma4"
        history, media = workspace.conversation.history, workspace.journal.folder
        title = title_of(media) if history.turns else "empty"
        if where:
            folder = Path(where).expanduser()  # an error where there is no such user
            if folder.suffix == ".md":
                folder, title = folder.parent, folder.stem
        path = await asyncio.to_thread(export.write, history, media, title, folder)
        return f"{path} is written."
