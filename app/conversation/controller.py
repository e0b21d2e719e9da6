"""The conversation as the program sees it: what the user does goes to the engine and into the
journal, and what the engine reports becomes turns (`answers.py`). Knows no terminal.

All of it belongs to one thread, and nothing in it waits.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.hub import catalog
from mlx_gemma4.media.audio import LIMIT_SECONDS
from mlx_gemma4.media.images import BUDGETS
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime import reports as told

from ..commands import Situation
from ..devices.screen import next_budget
from ..devices.speech import SpeechOutput
from ..state import Problem, RecordingState
from . import entries as note
from .attachments import Ready
from .pending import Exchange, PendingCommand, Then, adding, engine_settings
from .reports import MEMORY, ReportHandler


class ConversationController(ReportHandler):
    """One conversation, held now. Methods give the ids of the turns that they changed."""

    @property
    def model_name(self) -> str:
        """The model's name, as the settings have it."""
        return self.settings.model or catalog.DEMONSTRATION

    @property
    def budgets(self) -> tuple[int, ...]:
        """The image tokens that the model knows, upwards."""
        package = catalog.packages().get(self.model_name)
        return package.image_tokens if package is not None else BUDGETS

    def begin(self) -> None:
        """Load the model unless it is, and give it what it knew when the journal was left.

        Also after the engine was started again.
        """
        settings = engine_settings(self.settings)
        if self.model is None:
            self._loading = True
            self._give(do.Load(self.model_name, settings), self._loaded)
        else:
            self._give(do.New(settings))
        self.unknown = frozenset(self.history.turns)
        if self.history.remembered:
            memory = self._ledger.journal.path(MEMORY)
            self._give(do.Restore(memory), self._restored)
        self._ask_openly()
        self._last, self._next = None, Exchange()
        self._orders.mark(self._next, "begin")
        self._add_waiting()

    def attach(self, ready: Ready) -> note.Attachment:
        """Attach what was stored (`attach.py`), and let the model read it already."""
        made = self._ledger.attach(ready)
        self._add(made)
        return made

    def detach(self, number: int) -> None:
        """Take back an attachment that waits."""
        if number in self.history.waiting and self._may_go_back():
            self._ledger.write(note.AttachmentRemoved(number))
            self._go_back()

    def withdraw(self, number: int) -> None:
        """Take back an attachment that waits, whatever goes on."""
        if number in self.history.waiting:
            self._ledger.write(note.AttachmentRemoved(number))
            if self.recording is None:
                self._go_back()

    def keep_recording(self) -> set[int]:
        """Nothing more is recorded: what came waits to be sent."""
        if self.recording is None:
            return set()
        self._ledger.close_clip()
        changed = self._ledger.write(note.TurnsRemoved(self._spoken))
        self._spoken, self.recording = 0, None
        self._go_back()
        return changed

    def detail(self) -> note.Attachment | None:
        """Give the last picture that waits the next budget of tokens; None if there is none."""
        pictures = [one for one in self.history.waiting.values() if one.kind == "image"]
        if not pictures or not self._may_go_back():
            return None
        old = pictures[-1]
        # the model's own budget is the least that its tokens fit into
        own = next((one for one in self.budgets if one >= (old.tokens or 0)), 0)
        changed = replace(old, budget=next_budget(old.budget or own, self.budgets), tokens=None)
        self._ledger.write(note.AttachmentAdded(changed))
        self._go_back()
        return changed

    def hear(self, frames: NDArray[np.float32]) -> set[int]:
        """Take (n, 640) frames of what is spoken; the first begin a turn, and stop an answer."""
        changed: set[int] = set()
        if self.recording is None:
            changed |= self.stop()
            self._spoken = self.history.next_turn()
            changed |= self._ledger.write(note.TurnStarted(self._spoken, "user", self._now()))
            self.recording, self._clips = RecordingState(), []
        if self._ledger.journal.recorded_seconds >= LIMIT_SECONDS:
            if (clip := self._ledger.close_clip()) is not None:
                self._clips.append(clip.id)
            self.recording = replace(self.recording, clip=self.recording.clip + 1)
        self._ledger.record(frames)
        self.recording = replace(self.recording, seconds=self._ledger.journal.recorded_seconds)
        return changed | self._give(do.Hear(frames), turn=self._spoken)

    def discard(self) -> set[int]:
        """Forget the recording; what else waits goes on waiting."""
        if self.recording is None:
            return set()
        turn, self._spoken, self.recording = self._spoken, 0, None
        self._ledger.journal.drop_recording()
        for clip in self._clips:
            self._ledger.write(note.AttachmentRemoved(clip))
        changed = self._ledger.write(note.TurnsRemoved(turn))
        self._go_back()
        return changed

    def send(self, text: str) -> set[int]:
        """Ask: the words, what was recorded, and all that waits. Nothing at all is not asked."""
        text = text.strip()
        if not text and self.recording is None and not self.history.waiting:
            return set()
        changed = self.stop()
        exchange, self._next = self._next, Exchange()
        exchange.question = self._spoken or self.history.next_turn()
        if self.recording is not None:
            self._ledger.close_clip()
            self._give(do.EndSpeech())
        else:
            changed |= self._ledger.write(note.TurnStarted(exchange.question, "user", self._now()))
        self._spoken, self.recording = 0, None
        changed |= self._ledger.write(note.QuestionSent(exchange.question, text))
        if text:
            self._give(do.AddText(text))
        self._orders.forget(self._last)
        self._last = exchange
        self._orders.mark(exchange, "ask")
        return changed | self._answer(exchange)

    def stop(self) -> set[int]:
        """Stop the answer and the voice; what was said stays, marked as interrupted."""
        if self._speaker is not None:
            self._speaker.stop()
        if self._answering is None:
            return set()
        self._give(do.Stop())
        return self._end(note.TurnEnded(self._answering, "interrupted", "cancelled"))

    def escape(self) -> set[int] | None:
        """Do what Escape does now; None where that is nothing."""
        if self.recording is not None:
            return self.discard()
        if self.state in ("thinking", "answering", "speaking"):
            return self.stop()
        return None

    @property
    def can_redo(self) -> bool:
        """Whether the last question can be answered anew or edited."""
        last = self._last
        if last is None or not last.over or self.recording is not None:
            return False
        return last.begin is not None and last.ask is not None

    def regenerate(self) -> set[int]:
        """Answer the last question once more; the answer that was given is forgotten."""
        if not self.can_redo or (last := self._last) is None or last.ask is None:
            return set()
        changed = self.stop() | self._ledger.write(note.TurnsRemoved(last.answer))
        self._orders.forget(self._next)
        self._next = Exchange()
        self._give(do.Rewind(last.ask))
        self._save(last.question)
        last.again = True
        changed |= self._answer(last)
        self._add_waiting()
        return changed

    def edit(self) -> str:
        """Take the last question back: its words are given, and its attachments wait again."""
        if not self.can_redo or (last := self._last) is None:
            return ""
        self.stop()
        question = self.history.turns[last.question]
        waiting = list(self.history.waiting.values())
        self._ledger.write(note.TurnsRemoved(question.id))
        for attachment in waiting:
            self._ledger.write(note.AttachmentRemoved(attachment.id))
        for attachment in (*question.attachments, *waiting):
            self._ledger.write(note.AttachmentAdded(attachment))
        self._orders.forget(self._next)
        self._last, self._next = None, Exchange(begin=last.begin)
        last.begin = None  # it is the next one's now
        self._orders.forget(last)
        self._give(do.Discard() if self._next.begin is None else do.Rewind(self._next.begin))
        self._save(max(self.history.turns, default=0))
        self._add_waiting()
        return question.text

    def use(self, speaker: SpeechOutput | None) -> None:
        """Read answers aloud with another speaker from now on."""
        self._speaker = speaker

    def read_aloud(self, on: bool) -> None:
        """Read answers aloud from the next words on, or be silent."""
        self.speaks = on
        if not on and self._speaker is not None:
            self._speaker.stop()

    def close(self) -> None:
        """Stop, be silent, and close the journal. A recording will wait when it is opened again."""
        self.stop()
        self._ledger.journal.close()

    def situation(self, empty: bool) -> Situation:
        """Say what decides which commands can be used; `empty`: nothing is in the prompt."""
        picture = any(one.kind == "image" for one in self.history.waiting.values())
        return Situation(empty, picture, self.can_redo)

    def _answer(self, exchange: Exchange) -> set[int]:
        """Ask for an answer, mark the place after it, and have it saved."""
        exchange.answer, exchange.over = self.history.next_turn(), False
        self._answering = exchange.answer
        if self.history.model != self.model_name:
            self._ledger.write(note.ModelChosen(self.model_name))
        changed = self._ledger.write(note.TurnStarted(exchange.answer, "model", self._now()))
        spoken = any(
            one.kind == "sound" for one in self.history.turns[exchange.question].attachments
        )
        reply = do.Reply(
            self.settings.max_tokens,
            self.settings.temperature,
            heard=self.settings.heard and spoken,
        )
        self.usage = replace(self.usage, read=0, to_read=0)
        then = partial(self._answered, exchange, exchange.answer)
        order = PendingCommand(then, exchange=exchange, turn=exchange.answer)
        changed |= self._orders.give(reply, order)
        self._orders.mark(self._next, "begin")
        self._save(exchange.answer)
        return changed

    def _save(self, turn: int) -> None:
        """Have the engine save what it knows, which is the conversation up to a turn."""
        memory = self._ledger.journal.path(MEMORY)
        self._give(do.Save(memory, cache=False), partial(self._saved, turn))

    def _ask_openly(self) -> None:
        """Give the model the last question, where a crash kept it from being saved.

        It is answered with the next one, as after an answer that was stopped before it began.
        """
        question = self.history.last("user")
        if question is None or question.id <= self.history.remembered:
            return
        self.unknown -= {question.id}
        if question.text:
            self._give(do.AddText(question.text))
        for attachment in question.attachments:
            self._add(attachment)

    def _add(self, attachment: note.Attachment) -> None:
        """Give an attachment to the model."""
        then = partial(self._added, attachment.id)
        try:
            command = adding(attachment, self._ledger.journal.folder)
        except OSError as error:
            failed = told.Failed(
                "file_unreadable",
                f"{attachment.name} cannot be read",
                f"{error}.",
                "Attach it anew.",
            )
            then(failed)
            return
        self._orders.give(command, PendingCommand(then, attachment=attachment.id))

    def _add_waiting(self) -> None:
        for attachment in list(self.history.waiting.values()):
            self._add(attachment)

    def _go_back(self) -> None:
        """Take everything of the next question out of the engine, and add again what waits."""
        begin = self._next.begin
        self._give(do.Discard() if begin is None else do.Rewind(begin))
        self._add_waiting()

    def _may_go_back(self) -> bool:
        if self.recording is not None:
            remedy = "Send the recording, or discard it with Escape, first."
            self._ledger.tell(
                Problem(
                    "recording_in_progress",
                    "Not while you speak",
                    "It would have to be heard again.",
                    remedy,
                )
            )
        return self.recording is None

    def _give(self, command: do.Command, then: Then | None = None, turn: int = 0) -> set[int]:
        return self._orders.give(command, PendingCommand(then or self._told, turn=turn))
