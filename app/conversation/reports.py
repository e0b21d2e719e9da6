"""Makes turns, usage and problems of a worker's reports. Knows no terminal.

`controller.py` has the other half, what the user does.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mlx_gemma4 import events as said
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import LIMIT_SECONDS
from mlx_gemma4.runtime import reports as from_worker
from mlx_gemma4.runtime.client import UNFINISHED, Client
from mlx_gemma4.runtime.commands import Command
from mlx_gemma4.runtime.notices import sentence

from ..devices.speech import SpeechOutput
from ..settings import Settings
from ..state import Problem, RecordingState, State, Usage
from . import entries as note
from .figures import ReplyFigures
from .journal import Journal
from .journaled import JournaledHistory

CRASHED = ("worker_crashed", "host_lost")
UNWRITTEN = ("disk_full", "disk_too_small", "folder_unwritable")
REPORTED = (*CRASHED, "worker_not_running", "model_not_loaded")  # their cause was reported already
MOST = UNFINISHED // 2
"""Commands that may wait when as many attachments are added once more."""

Then = Callable[[from_worker.Failed | None], set[int]]
"""What to do when a command is finished, or failed; returns the ids of the turns that changed."""


@dataclass(frozen=True)
class PendingCommand:
    """What an unfinished command is about: a turn, an attachment, or neither (0)."""

    then: Then
    turn: int
    attachment: int


class ReportHandler:
    """One conversation, held now. Methods return the ids of the turns that they changed.

    Args:
        client: of the worker that answers.
        journal: where it is written; what it holds already is shown, and known to the model.
        settings: of the user.
        speech: reads answers aloud; None where nothing can.
        model: that is loaded already; None to load the one of the settings.
        now: seconds since 1970.

    Attributes:
        id: the worker's name of the conversation.
        history, problems, works: as those of `JournaledHistory`.
        usage: what the conversation takes up.
        recording: what is being recorded; None for nothing.
        model: that is loaded; None for none.
        sending: how far its layers are on their way to other computers while it is being loaded.
        speaks: whether answers are read aloud.
        rereading: tokens of the conversation that the worker has read again, and all that it is to
            read again; None where it reads nothing again.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        settings: Settings,
        speech: SpeechOutput | None = None,
        model: from_worker.Loaded | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.id = journal.folder.name
        self.journal = journal
        self._journaled = JournaledHistory(journal)
        self.history = self._journaled.history
        self.problems, self.works = self._journaled.problems, self._journaled.works
        self.usage = Usage()
        self.recording: RecordingState | None = None
        self._taking = threading.Lock()  # while frames are kept; then a recording cannot end
        self.settings = settings
        self.speaks = settings.speak
        self.model = model
        self.sending: from_worker.Sending | None = None
        self.rereading: tuple[int, int] | None = None
        self.speech = speech
        self._now = now
        self._client = client
        self._pending: dict[int | None, PendingCommand] = {}  # by the worker's number
        self._loading = 0  # models that are on their way; the last one counts
        self._answering: int | None = None  # the turn of the answer that is being written
        self._spoken = 0  # the turn that is being spoken
        self._figures = ReplyFigures()
        self._parking_failed = False  # since the worker was idle last
        self._heard_for = 0  # the question whose transcript is awaited; 0 for none
        self._stale = False  # the worker has something else of the next question than the journal

    @property
    def state(self) -> State:
        if self.recording is not None:
            return "listening"
        if self._answering is not None:
            thinks = self.history.turns[self._answering].state == "thinking"
            return "thinking" if thinks else "answering"
        if self.speech is not None and self.speech.speaking:
            return "speaking"
        if self.model is None:
            return "loading" if self._loading else "empty"
        return "ready" if self.rereading is None else "reading"

    @property
    def pending(self) -> int:
        """How many commands the worker has not finished yet."""
        return len(self._pending)

    def fold(self, reports: Iterable[from_worker.Report]) -> set[int]:
        """Take in reports; one that is about another conversation is left out."""
        changed: set[int] = set()
        for report in merged(reports):
            if report.conversation in (None, self.id):
                changed |= self._fold(report)
        return changed

    def _fold(self, report: from_worker.Report) -> set[int]:
        event, pending = report.event, self._pending.get(report.command)
        match event:
            case from_worker.Hearing(heard, behind) if self.recording is not None:
                self.recording = replace(self.recording, heard=heard, behind=behind)
                self.watch_recording()
            case from_worker.FellBehind() if self.recording is not None:
                return self._remark(sentence(event), self._spoken)
            case from_worker.Figures() if report.conversation == self.id:
                self.usage = replace(self.usage, **vars(event))
            case from_worker.Rereading(tokens):
                if self._answering is None:  # else it is read as the prompt of the answer
                    self.rereading = (0, tokens) if tokens else None
            case from_worker.Sending():
                self.sending = event
            case from_worker.Idle():
                self.rereading = None
                if not self._parking_failed:
                    self.works.add("parking")
                self._parking_failed = False
            case from_worker.Reading(done, total):
                if self.rereading is not None and self._answering is None:
                    self.rereading = (done, total) if done < total else None
                self.usage = replace(self.usage, read=done, to_read=total)
            case from_worker.Failed(code) if report.command is None and code in UNWRITTEN:
                self._not_parked(event)
            case from_worker.Failed() if report.command is None:
                return self._broken(event)
            case _ if report.command is None:
                return self._remark(sentence(event), self._latest())
            case _ if pending is not None:
                return self._answer_to(report, pending)
        return set()

    def _answer_to(self, report: from_worker.Report, pending: PendingCommand) -> set[int]:
        """Take in a report of a command that was sent here."""
        match event := report.event:
            case from_worker.Failed() | from_worker.Finished():
                del self._pending[report.command]
                return pending.then(event if isinstance(event, from_worker.Failed) else None)
            case from_worker.Loaded() if self._loading > 1:
                pass
            case from_worker.Loaded():
                self.model = event
                self.works.add("model")
                self.usage = Usage(context=event.context)
            case from_worker.ImageAdded():
                return self._measured(pending.attachment, event)
            case said.Token() | said.Thought() | said.Heard() | said.Done():
                if pending.turn in self.history.turns:
                    return self._said(event, pending.turn, report.time)
            case _:
                return self._remark(sentence(event), pending.turn or self._latest())
        return set()

    def _said(
        self, event: "said.Token | said.Thought | said.Heard | said.Done", turn: int, at: float
    ) -> set[int]:
        write = self._journaled.write
        match event:
            case said.Token(text):
                self._figures.add(turn, at)
                if self.speaks and self.speech is not None and turn == self._answering:
                    self.speech.add(text)
                return write(note.TextAdded(turn, "text", text))
            case said.Thought(text):
                self._figures.add(turn, at)
                return write(note.TextAdded(turn, "thought", text))
            case said.Heard(text, relayed):
                if self._heard_for not in self.history.turns:
                    return set()
                before = self.history.turns[self._heard_for].heard
                text = f" {text}" if before else text  # one a clip
                return write(note.TextAdded(self._heard_for, "heard", text, relayed))
            case said.Done(reason, stats, ids):
                self.works.add("answer")
                stats = dict(stats) or self._figures.stats(turn)
                self.usage = replace(self.usage, speed=stats.get("tokens_per_second", 0.0))
                outcome: note.Outcome = "interrupted" if reason == "cancelled" else "done"
                return self._end(note.TurnEnded(turn, outcome, reason, stats, ids=tuple(ids)))

    def _send(
        self, command: Command, then: Then | None = None, turn: int = 0, attachment: int = 0
    ) -> set[int]:
        """Send a command; where the worker does not accept it, it has failed."""
        pending = PendingCommand(then or self._checked, turn, attachment)
        try:
            self._pending[self._client.send(command)] = pending
        except Gemma4Error as error:
            return pending.then(from_worker.Failed.of(error))
        return set()

    def _answered(self, turn: int, failed: from_worker.Failed | None) -> set[int]:
        if failed is None or turn not in self.history.turns:
            return set()
        if failed.code not in CRASHED:  # that is reported by itself
            self._journaled.report(Problem.of(failed, "answer"))
        error = (failed.code, failed.title, failed.cause, failed.remedy)
        return self._end(
            note.TurnEnded(turn, "failed", stats=self._figures.stats(turn), error=error)
        )

    def _loaded(self, failed: from_worker.Failed | None) -> set[int]:
        self._loading -= 1
        if failed is not None:
            self.model = None
        return self._checked(failed, CRASHED)

    def _checked(
        self, failed: from_worker.Failed | None, reported: tuple[str, ...] = REPORTED
    ) -> set[int]:
        if failed is not None and failed.code not in reported:
            self._stale |= failed.code == "worker_busy"
            self._journaled.report(Problem.of(failed, "model"))
        return set()

    def _added(self, number: int, failed: from_worker.Failed | None) -> set[int]:
        """Take back what the worker could not add, unless something else is to blame."""
        if failed is None or failed.code in REPORTED or number not in self.history.waiting:
            return set()
        if failed.code == "worker_busy" and len(self.history.waiting) <= MOST:
            self._stale = True
        else:
            self._journaled.write(note.AttachmentRemoved(number))
            self._journaled.report(Problem.of(failed, "file"))
        return set()

    def _broken(self, failed: from_worker.Failed) -> set[int]:
        """The worker itself has failed; a crash has ended every command before it is reported."""
        changed: set[int] = set()
        if isinstance(failed, from_worker.Crashed):
            self.model = self.rereading = None
            changed = self._keep_recording()
        self._journaled.report(Problem.of(failed, "model"))
        return changed

    def _not_parked(self, failed: from_worker.Failed) -> None:
        """The disk has no room for what the model has read: all that the worker itself writes."""
        self._parking_failed = True
        problem = Problem(
            "parking_failed",
            "What the model has read is not kept",
            f"{failed.title}: {failed.cause}",
            "The conversation itself is saved. Resuming it takes longer until there is room: it is "
            "read again. The settings (F3) limit the gigabytes that this may take.",
            source="parking",
        )
        self._journaled.report(problem)

    def watch_recording(self) -> None:
        """Update `recording` with its length so far."""
        if self.recording is not None:
            clips, seconds = divmod(self.journal.recorded_seconds, LIMIT_SECONDS)
            self.recording = replace(self.recording, clip=int(clips) + 1, seconds=seconds)

    def _keep_recording(self) -> set[int]:
        if not self._stop_recording():
            return set()
        self._journaled.end_recording()
        turn, self._spoken = self._spoken, 0
        return self._journaled.write(note.TurnsRemoved(turn))

    def _stop_recording(self) -> bool:
        """Take no more frames; return whether some were being taken."""
        with self._taking:
            was, self.recording = self.recording is not None, None
        return was

    def _measured(self, number: int, event: from_worker.ImageAdded) -> set[int]:
        for one in self.history.attachments:
            measured = replace(one, size=event.original, tokens=event.tokens)
            if one.id == number and one != measured:
                return self._journaled.write(self._changed(measured))
        return set()

    def _changed(self, attachment: note.Attachment) -> note.AttachmentAdded:
        return note.AttachmentAdded(attachment, attachment.id in self.history.watched)

    def _end(self, ended: note.TurnEnded) -> set[int]:
        """End a turn. One that the user stopped gets its numbers again when the worker stops."""
        if self._answering == ended.turn:
            self._answering = None
            if self.speech is not None and self.speaks and ended.outcome == "done":
                self.speech.finish()
        return self._journaled.write(ended)

    def _remark(self, words: str, turn: int) -> set[int]:
        return self._journaled.write(note.NoteAdded(turn, words)) if words and turn else set()

    def _latest(self) -> int:
        return self._spoken or max(self.history.turns, default=0)


def merged(reports: Iterable[from_worker.Report]) -> list[from_worker.Report]:
    """Join pieces of one answer that came together: each result is one line of the journal."""
    found: list[from_worker.Report] = []
    for report in reports:
        event, before = report.event, found[-1] if found else None
        if before is None or before.command != report.command:
            found.append(report)
        elif isinstance(before.event, said.Token) and isinstance(event, said.Token):
            joined = said.Token(before.event.text + event.text, event.id)
            found[-1] = replace(before, event=joined)
        else:
            found.append(report)
    return found
