"""What an engine's reports make of a conversation: turns, usage, problems. Knows no terminal.

`session.py` has the other half, what the user does.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from mlx_gemma4 import events as said
from mlx_gemma4.runtime import reports as told
from mlx_gemma4.runtime.client import Port
from mlx_gemma4.runtime.notices import sentence

from ..devices.speech import SpeechOutput
from ..settings import Settings
from ..state import Problem, RecordingState, Source, State, Usage
from . import entries as note
from .journal import Journal
from .ledger import Ledger
from .pending import Exchange, PendingCommand, PendingCommands

MEMORY = "memory"
"""The folder, in a conversation's own, that the engine saves what it knows to."""


class ReportHandler:
    """One conversation, held now. Methods give the ids of the turns that they changed.

    Args:
        engine: that answers.
        journal: where it is written; what it holds already is shown and, as far as the engine
            saved it, known to the model.
        settings: of the user.
        speaker: reads answers aloud; None where nothing can.
        model: that is loaded already; None to load the one of the settings.
        now: seconds since 1970.

    Attributes:
        history: the turns, and the attachments that wait.
        usage: what it takes up.
        recording: what is being recorded; None for nothing.
        problems: what went wrong and was not shown yet, oldest first: take them out.
        model: that is loaded; None for none.
        speaks: whether answers are read aloud.
        unknown: the ids of turns that were held before and that the model does not know.
    """

    def __init__(
        self,
        engine: Port,
        journal: Journal,
        settings: Settings,
        speaker: SpeechOutput | None = None,
        model: told.Loaded | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = Ledger(journal)
        self.history, self.problems = self._ledger.history, self._ledger.problems
        self.usage = Usage()
        self.works: set[Source] = set()
        self.recording: RecordingState | None = None
        self.settings = settings
        self.speaks = settings.speak
        self.model = model
        self.unknown: frozenset[int] = frozenset()
        self._speaker = speaker
        self._now = now
        self._orders = PendingCommands(engine)
        self._loading = False
        self._answering: int | None = None  # the turn of the answer that is being given
        self._spoken = 0  # the turn that is being spoken,
        self._clips: list[int] = []  # and its clips that are closed
        self._lost: list[tuple[note.Attachment, told.Failed]] = []  # the engine did not take them
        self._last: Exchange | None = None  # the one that was asked last
        self._next = Exchange()  # the one whose question is being made

    @property
    def state(self) -> State:
        """What is done now."""
        if self.recording is not None:
            return "listening"
        if self._answering is not None:
            thinks = self.history.turns[self._answering].state == "thinking"
            return "thinking" if thinks else "answering"
        if self._speaker is not None and self._speaker.speaking:
            return "speaking"
        if self.model is None:
            return "loading" if self._loading else "empty"
        return "ready"

    @property
    def pending(self) -> int:
        """How many commands the engine has not done yet; at the end they are worth waiting for."""
        return len(self._orders)

    def fold(self, report: told.Report) -> set[int]:
        """Take in a report; one that answers another conversation's command is left out."""
        event, order = report.event, self._orders.of(report)
        if order is None:
            return set() if report.command is not None else self._unasked(event)
        match event:
            case told.Failed() | told.Finished():
                return self._orders.done(report)
            case told.Figures():
                self.usage = replace(self.usage, **vars(event))
            case told.Loaded():
                self.model, self._loading = event, False
                self.works.add("model")
                self.usage = Usage(context=event.context)
            case told.Marked():
                self._orders.marked(order, event)
            case told.Reading(done, total):
                self.usage = replace(self.usage, read=done, to_read=total)
            case told.Hearing(heard, behind) if self.recording is not None:
                self.recording = replace(self.recording, heard=heard, behind=behind)
            case told.FellBehind() if self.recording is not None:
                self.recording = replace(self.recording, slow=True)
            case told.ImageAdded():
                return self._measured(order.attachment, event)
            case said.Token() | said.Thought() | said.Heard() | said.Done():
                return self._said(event, order)
            case _ if words := sentence(event):
                turn = order.turn or self._latest()
                return self._ledger.write(note.NoteAdded(turn, words))
        return set()

    def _unasked(self, event: object) -> set[int]:
        """Take in what answers no command."""
        if isinstance(event, told.Failed):
            return self._broken(event)
        words, turn = sentence(event), self._latest()
        return self._ledger.write(note.NoteAdded(turn, words)) if words and turn else set()

    def _said(
        self, event: "said.Token | said.Thought | said.Heard | said.Done", order: PendingCommand
    ) -> set[int]:
        """Take in a piece of a reply."""
        turn, exchange = order.turn, order.exchange
        if turn not in self.history.turns:
            return set()
        match event:
            case said.Token(text):
                if self.speaks and self._speaker is not None and turn == self._answering:
                    self._speaker.add(text)
                return self._ledger.write(note.TextAdded(turn, "text", text))
            case said.Thought(text):
                return self._ledger.write(note.TextAdded(turn, "thought", text))
            case said.Heard(text):
                if exchange is None or exchange.again:
                    return set()
                before = self.history.turns[exchange.question].heard
                text = f" {text}" if before else text  # one a clip
                return self._ledger.write(note.TextAdded(exchange.question, "heard", text))
            case said.Done(reason, stats):
                self.usage = replace(self.usage, speed=stats.get("tokens_per_second", 0.0))
                outcome: note.Outcome = "interrupted" if reason == "cancelled" else "done"
                return self._end(note.TurnEnded(turn, outcome, reason, dict(stats)))

    def _answered(self, exchange: Exchange, turn: int, failed: told.Failed | None) -> set[int]:
        exchange.over = turn == exchange.answer
        if failed is not None and turn in self.history.turns:
            error = (failed.title, failed.cause, failed.remedy)
            if failed.code != "worker_crashed":  # that is reported by itself
                self._ledger.tell(Problem.of(failed, "answer"))
            return self._end(note.TurnEnded(turn, "failed", error=error))
        return set()

    def _saved(self, turn: int, failed: told.Failed | None) -> set[int]:
        if failed is None and turn in self.history.turns:
            self._ledger.write(note.Remembered(turn))
        return set()

    def _loaded(self, failed: told.Failed | None) -> set[int]:
        self._loading = False
        return self._told(failed)

    def _restored(self, failed: told.Failed | None) -> set[int]:
        known = self.history.remembered
        if failed is None:
            self.unknown = frozenset(one for one in self.unknown if one > known)
            return set(self.history.turns)
        cause = f"The model does not know what was said so far: {failed.cause}"
        self._ledger.tell(
            Problem(
                "conversation_not_restored", "The conversation begins anew", cause, failed.remedy
            )
        )
        return set()

    def _told(self, failed: told.Failed | None) -> set[int]:
        if failed is not None and failed.code != "worker_crashed":
            self._ledger.tell(Problem.of(failed, "model"))
        return set()

    def _added(self, number: int, failed: told.Failed | None) -> set[int]:
        if failed is not None and number in self.history.waiting:
            self._lost.append((self.history.waiting[number], failed))
            self._ledger.write(note.AttachmentRemoved(number))
        return self._told(failed)

    def _broken(self, failed: told.Failed) -> set[int]:
        """The engine itself has failed; a crash has ended every command before this is told."""
        crashed = isinstance(failed, told.Crashed)
        changed: set[int] = set()
        if crashed:
            self.model, self._loading = None, False
            self._last, self._next = None, Exchange()
            self.problems.clear()  # that each command failed says nothing more
            for attachment, why in self._lost:
                if why.cause == failed.cause:  # nothing was wrong with it
                    self._ledger.write(note.AttachmentAdded(attachment))
            if self.recording is not None:  # what was recorded waits
                self._ledger.close_clip()
                changed = self._ledger.write(note.TurnsRemoved(self._spoken))
                self._spoken, self.recording = 0, None
        self._lost.clear()
        self._ledger.tell(Problem.of(failed, "model"))
        return changed

    def _measured(self, number: int, event: told.ImageAdded) -> set[int]:
        """Say what the model gets of a picture."""
        sent = [one for turn in self.history.turns.values() for one in turn.attachments]
        for one in (*self.history.waiting.values(), *sent):
            if one.id == number:
                return self._ledger.write(
                    note.AttachmentAdded(replace(one, size=event.original, tokens=event.tokens))
                )
        return set()

    def _end(self, ended: note.TurnEnded) -> set[int]:
        """End a turn. One that the user stopped gets its numbers when the engine has stopped."""
        if ended.turn not in self.history.turns:
            return set()
        if self._answering == ended.turn:
            self._answering = None
            if self._speaker is not None and self.speaks and ended.outcome == "done":
                self._speaker.finish()
        return self._ledger.write(ended)

    def _latest(self) -> int:
        return self._spoken or max(self.history.turns, default=0)
