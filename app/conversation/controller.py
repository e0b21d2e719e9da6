"""The conversation as the program sees it: what the user does goes to the worker and into the
journal, and what the worker reports becomes turns (`reports.py`). Knows no terminal.

The journal is the one copy: to open a conversation again, to take a question back or to answer it
once more, the worker is sent the turns as the journal has them, and keeps what its caches hold of
them. All but `record` is for one thread, and nothing in it waits.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.hub import catalog
from mlx_gemma4.media.images import BUDGETS
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime import reports as from_worker

from ..commands import Situation
from ..devices.screen import next_budget
from ..settings import Settings
from ..state import Problem, RecordingState
from . import entries as note
from .attachments import Ready
from .reports import MOST, ReportHandler
from .worker_turns import adding, past_turns, question_parts


class ConversationController(ReportHandler):
    """One conversation, held now. Methods return the ids of the turns that they changed."""

    watched = 0  # the attachment that shows the screen while it is watched; 0 for none
    _edited = False  # a question was taken back, and nothing was sent since

    @property
    def model_name(self) -> str:
        return self.settings.model or catalog.DEMONSTRATION

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets of image tokens that the model knows, ascending."""
        package = catalog.known(self.model_name)
        return package.image_tokens if package is not None else BUDGETS

    def start(self) -> None:
        """Load the model unless one is loaded, and open this conversation in the worker.

        Also after the worker was started again, and with another model.
        """
        if self.model is None:
            self._loading += 1
            self.sending = None
            load = do.Load(
                self.model_name, drafter=self.settings.drafter or None, draft=self.settings.draft
            )
            self._send(load, self._loaded)
        self._open()

    def attach(self, ready: Ready) -> note.Attachment:
        """Attach what was stored (`attachments.py`), and let the model read it at once."""
        made = self._journaled.attach(ready)
        self._add(made)
        return made

    def show_screen(self, ready: Ready) -> None:
        """Attach a picture or video of the watched screen, in the place of the one before."""
        before, self.watched = self.watched, self._journaled.attach(ready, True).id
        if before in self.history.waiting:
            self._journaled.detach(before)
            self._take_back()
        else:
            self._add(self.history.waiting[self.watched])

    def detach(self, number: int) -> None:
        """Take back an attachment that waits; while somebody speaks, report that it cannot be."""
        if number in self.history.waiting and self._may_take_back():
            self.withdraw(number)

    def withdraw(self, number: int) -> None:
        """Take back an attachment that waits, also while somebody speaks."""
        if number in self.history.waiting:
            self._journaled.detach(number)
            self._take_back()

    def unwatch(self) -> None:
        """Take back the picture or video of the screen: it is not watched any more."""
        self.withdraw(self.watched)
        self.watched = 0

    def detail(self) -> note.Attachment | None:
        """Set the last picture that waits to the next budget of tokens, and return it.

        None if there is none, or while somebody speaks.
        """
        pictures = [one for one in self.history.waiting.values() if one.kind == "image"]
        if not pictures or not self._may_take_back():
            return None
        old = pictures[-1]
        # the model's own budget is the least that its tokens fit into
        own = next((one for one in self.budgets if one >= (old.tokens or 0)), 0)
        changed = replace(old, budget=next_budget(old.budget or own, self.budgets), tokens=None)
        self._journaled.write(self._changed(changed))
        self._take_back()
        return changed

    def start_recording(self) -> set[int]:
        """Start a turn for what somebody speaks; stop an answer."""
        if self.recording is not None:
            return set()
        changed = self.stop()
        self._spoken = self.history.next_turn()
        self.recording = RecordingState()
        return changed | self._journaled.write(note.TurnStarted(self._spoken, "user", self._now()))

    def record(self, frames: NDArray[np.float32]) -> None:
        """Keep (n, 640) frames that the worker is sent, while there is a recording.

        From any thread: frames may be on their way when a recording ends, and belong to no other.

        Raises:
            Gemma4Error: they cannot be written.
        """
        with self._taking:
            if self.recording is not None:
                self.journal.record(frames)

    def keep_recording(self) -> None:
        """End the recording: what came waits to be sent."""
        if self._keep_recording():
            self._take_back()

    def discard(self) -> set[int]:
        """Delete the recording; what else waits goes on waiting."""
        if not self._stop_recording():
            return set()
        turn, self._spoken = self._spoken, 0
        self.journal.drop_recording()
        changed = self._journaled.write(note.TurnsRemoved(turn))
        self._take_back()
        return changed

    def send(self, text: str, attached: Collection[int] | None = None) -> set[int]:
        """Ask with the words, what was recorded, and what waits; without any of it do nothing.

        Of what waits, only `attached` and the watched screen are asked about; None means all.
        """
        text, waiting = text.strip(), list(self.history.waiting.values())
        now = self.history.waiting.keys() if attached is None else {*attached, self.watched}
        later = [one for one in waiting if one.id not in now]
        if not text and self.recording is None and len(later) == len(waiting):
            return set()
        changed = self.stop()
        for one in later:
            self._journaled.write(note.AttachmentRemoved(one.id))
        stale, self._stale = self._stale or bool(later), False
        question = self._spoken or self.history.next_turn()
        spoken, self._spoken = self._stop_recording(), 0
        if spoken:
            self._journaled.end_recording()
            self._send(do.EndSpeech(conversation=self.id))
        else:
            changed |= self._journaled.write(note.TurnStarted(question, "user", self._now()))
        changed |= self._journaled.write(note.QuestionSent(question, text))
        if stale:  # only what the journal has is asked
            self._send(do.Discard(conversation=self.id))
            self._add_unanswered()
        elif text:
            self._send(do.AddText(text, conversation=self.id))
        self._edited = False
        changed |= self._ask(question)
        for one in later:
            self._journaled.write(note.AttachmentAdded(one))
        self._add_waiting()
        return changed

    def stop(self) -> set[int]:
        """Stop the answer and the voice; what has come stays, marked as interrupted."""
        if self.speech is not None:
            self.speech.stop()
        if self._answering is None:
            return set()
        turn = self._answering
        self._send(do.Stop(conversation=self.id))
        stats = self._figures.stats(turn)
        return self._end(note.TurnEnded(turn, "interrupted", "cancelled", stats))

    def escape(self) -> set[int] | None:
        """Do what Escape does now; None where that is nothing."""
        if self.recording is not None:
            return self.discard()
        if self.state in ("thinking", "answering", "speaking"):
            return self.stop()
        if self.state == "reading":
            self._send(do.Stop(conversation=self.id))
            self.rereading = None
            return set()
        return None

    @property
    def can_redo(self) -> bool:
        """Whether the last question can be answered once more or edited."""
        if self.model is None or self._answering is not None or self.recording is not None:
            return False
        if self._edited:  # what is being written would be lost
            return False
        return self.history.last("user") is not None

    def regenerate(self) -> set[int]:
        """Answer the last question once more; its answer is deleted."""
        question = self.history.last("user")
        if not self.can_redo or question is None:
            return set()
        changed = self.stop()
        answers = [turn for turn in self.history.turns if turn > question.id]
        if answers:
            changed |= self._journaled.write(note.TurnsRemoved(answers[0]))
        self._open(waiting=False)
        changed |= self._ask(question.id)
        self._add_waiting()
        return changed

    def edit(self) -> str:
        """Take the last question back: return its words; its attachments wait again."""
        question = self.history.last("user")
        if not self.can_redo or question is None:
            return ""
        self.stop()
        waiting = list(self.history.waiting.values())
        self._journaled.write(note.TurnsRemoved(question.id))
        for attachment in waiting:
            self._journaled.write(note.AttachmentRemoved(attachment.id))
        for attachment in (*question.attachments, *waiting):
            watched = attachment.id == self.watched
            self._journaled.write(note.AttachmentAdded(attachment, watched))
        self._open()
        self._edited = True
        return question.text

    def read_aloud(self, on: bool) -> None:
        """Read answers aloud from the next words on, or be silent."""
        self.speaks = on
        if not on and self.speech is not None:
            self.speech.stop()

    def close(self) -> None:
        """Stop the answer and the voice, and close the journal.

        A recording waits when it is opened again; a picture of the watched screen does not.
        """
        self.stop()
        if self.watched in self.history.waiting:
            self._journaled.detach(self.watched)
        self._send(do.Close(conversation=self.id), lambda _: set())
        self.journal.close()

    def situation(self, empty: bool) -> Situation:
        """Return what decides which commands can be used; `empty`: nothing is in the prompt."""
        picture = any(one.kind == "image" for one in self.history.waiting.values())
        return Situation(empty, picture, self.can_redo)

    def _open(self, waiting: bool = True) -> None:
        """Open the conversation in the worker, as the journal has it."""
        self.rereading = None
        self._stale = self.recording is not None  # it lacks what was spoken before
        turns, _ = past_turns(self.history, self.journal.folder, self.id)
        settings = worker_settings(self.settings, self.journal.folder.parent.parent / "prefixes")
        self._send(do.Open(turns, settings, conversation=self.id))
        self._add_unanswered()
        if waiting:
            self._add_waiting()

    def _ask(self, question: int) -> set[int]:
        turn = self._answering = self.history.next_turn()
        if self.history.model != self.model_name:
            self._journaled.write(note.ModelChosen(self.model_name))
        changed = self._journaled.write(note.TurnStarted(turn, "model", self._now()))
        asked = self.history.turns[question]
        spoken = any(one.kind == "sound" for one in asked.attachments)
        self._heard_for = 0 if asked.heard else question
        self.usage = replace(self.usage, read=0, to_read=0)
        self.rereading = None
        self._figures.start(turn)
        reply = do.Reply(
            self.settings.max_tokens,
            self.settings.temperature,
            heard=self.settings.heard and spoken and not asked.heard,
            conversation=self.id,
        )
        return changed | self._send(reply, partial(self._answered, turn), turn)

    def _answered(self, turn: int, failed: from_worker.Failed | None) -> set[int]:
        changed = super()._answered(turn, failed)
        if self._stale:
            self._take_back()
        return changed

    def _add(self, attachment: note.Attachment) -> None:
        then = partial(self._added, attachment.id)
        try:
            command = adding(attachment, self.journal.folder, self.id)
        except OSError as error:
            title, cause = f"{attachment.name} cannot be read", f"{error}."
            then(from_worker.Failed("file_unreadable", title, cause, "Attach it again."))
            return
        self._send(command, then, attachment=attachment.id)

    def _add_waiting(self) -> None:
        for attachment in list(self.history.waiting.values()):
            self._add(attachment)

    def _add_unanswered(self) -> None:
        """Add the questions after the last answer: they are answered with the next one."""
        _, questions = past_turns(self.history, self.journal.folder, self.id)
        for question in questions:
            for part in question_parts(question, self.journal.folder, self.id):
                self._send(part)

    def _take_back(self) -> None:
        """Take everything of the next question out of the worker, and add again what waits.

        Later where somebody speaks, whose sound would have to be heard again; where an answer
        comes, whose question the worker keeps; and where too much waits to be carried out.
        """
        replies = any(pending.turn for pending in self._pending.values())
        self._stale = self.recording is not None or replies or self.pending > MOST
        if self._stale:
            return
        self._send(do.Discard(conversation=self.id))
        self._add_unanswered()
        self._add_waiting()

    def _may_take_back(self) -> bool:
        if self.recording is not None:
            self._journaled.report(
                Problem(
                    "recording_in_progress",
                    "Not while you speak",
                    "It would have to be heard again.",
                    "Send the recording, or discard it with Escape, first.",
                    source="answer",
                )
            )
        return self.recording is None


def worker_settings(settings: Settings, parked: Path) -> do.SessionSettings:
    return do.SessionSettings(
        system=settings.system or None,
        image_tokens=settings.image_tokens,
        hearing=settings.hearing,
        kv_bits=settings.kv_bits or None,
        thinking=settings.thinking,
        when_full=settings.when_full,
        park=parked if settings.park_gigabytes else None,
        park_bytes=round(settings.park_gigabytes * 1e9),
    )
