"""A conversation and its journal as one: what is written down is what is shown."""

from collections import deque

from mlx_gemma4.errors import Gemma4Error, counted

from ..state import Problem, Source
from .attachments import Ready
from .entries import Attachment, AttachmentAdded, AttachmentRemoved, Entry, TurnEnded, TurnsRemoved
from .history import History
from .journal import RECORDING, Journal
from .journal_file import EVENTS

RECORDED = "recording"
"""The name of attachments that were recorded here."""


class JournaledHistory:
    """What was said, on the disk and as turns.

    A disk that cannot be written is reported once, until it works; what is said is still shown.

    Attributes:
        history: the turns, and the attachments that wait.
        problems: what went wrong and is not shown yet, oldest first; who shows one takes it out.
        works: what problems were about and works again; who shows that takes it out.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.problems: deque[Problem] = deque()
        self.works: set[Source] = set()
        self.history = History(journal.entries())
        self._unsaved = False
        self._recover()
        if journal.damaged:
            self.report(_damaged(journal))

    def write(self, entry: Entry) -> set[int]:
        """Take an entry in, and write it down; return the ids of the turns that changed."""
        try:
            self.journal.append(entry)
            if self._unsaved:
                self._unsaved = False
                self.works.add("disk")
        except (Gemma4Error, ValueError) as error:
            self._not_saved(error)
        return self.history.apply(entry)

    def attach(self, ready: Ready, watched: bool = False) -> Attachment:
        """Number what was stored, and let it wait; `watched` as in `AttachmentAdded`."""
        number, count = self.history.next_attachment(ready.kind)
        facts = (ready.file, ready.name, ready.size, ready.seconds, ready.budget)
        made = Attachment(number, ready.kind, count, *facts, frames=ready.frames)
        self.write(AttachmentAdded(made, watched))
        return made

    def detach(self, number: int) -> None:
        """Take back what waits, and delete its files unless something else shows them."""
        attachment = self.history.waiting[number]
        self.write(AttachmentRemoved(number))
        for name in attachment.files - self.history.files:
            self.journal.drop(name)

    def end_recording(self) -> list[Attachment]:
        """Make attachments of what was recorded: clips of at most 30 s."""
        try:
            clips = self.journal.end_recording()
        except (Gemma4Error, OSError) as error:
            self._not_saved(error)
            return []
        return [self.attach(Ready("sound", file, RECORDED, seconds=s)) for file, s in clips]

    def report(self, problem: Problem) -> None:
        """Add a problem, in the place of one with its code that is not shown yet."""
        left = [one for one in self.problems if one.code != problem.code]
        self.problems.clear()
        self.problems.extend([*left, problem])

    def _recover(self) -> None:
        """End what a crash left open: a recording waits to be sent, an answer is interrupted."""
        if (self.journal.folder / RECORDING).is_file():
            self.end_recording()
        for number in self.history.watched & self.history.waiting.keys():
            self.write(AttachmentRemoved(number))  # the screen is watched no more: off means gone
        for turn in [one for one in self.history.turns.values() if not one.over]:
            spoken = turn.state == "recording"
            self.write(TurnsRemoved(turn.id) if spoken else TurnEnded(turn.id, "interrupted"))
        if not self.journal.damaged:  # a line that cannot be read may name one
            self.journal.drop_all_but(self.history.files)

    def _not_saved(self, error: Exception) -> None:
        if not self._unsaved:
            self._unsaved = True
            self.report(Problem.of(error, "disk"))


def _damaged(journal: Journal) -> Problem:
    lines = counted(journal.damaged, "line")
    return Problem(
        "conversation_damaged",
        "A part of the conversation cannot be read",
        f"{journal.folder / EVENTS} has {lines} without a meaning: left out.",
        "What is shown is all that can be read; the file is left as it is.",
        source="disk",
    )
