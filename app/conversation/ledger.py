"""A conversation and its journal as one: what is written down is what is shown."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.errors import Gemma4Error

from ..state import Problem
from .attachments import Ready
from .entries import Attachment, AttachmentAdded, Entry, TurnEnded, TurnsRemoved
from .history import History
from .journal import RECORDING, Journal

RECORDED = "recording"
"""The name of attachments that were recorded here."""


class Ledger:
    """What was said, on the disk and as turns.

    A full disk is told once; what is said goes on being shown.

    Attributes:
        history: the turns, and the attachments that wait.
        problems: what went wrong and was not shown yet, oldest first: take them out.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.problems: deque[Problem] = deque()
        self.history = History(journal.entries())
        self._recover()

    def write(self, entry: Entry) -> set[int]:
        """Take an entry in, and write it down; give the ids of the turns that changed."""
        try:
            self.journal.append(entry)
        except (OSError, Gemma4Error) as error:
            self._unwritten(error)
        return self.history.apply(entry)

    def attach(self, ready: Ready) -> Attachment:
        """Number what was stored, and let it wait."""
        number, count = self.history.next_attachment(ready.kind)
        made = Attachment(
            number,
            ready.kind,
            count,
            ready.file,
            ready.name,
            ready.size,
            ready.seconds,
            ready.budget,
            frames=ready.frames,
        )
        self.write(AttachmentAdded(made))
        return made

    def record(self, frames: NDArray[np.float32]) -> None:
        """Add (n, 640) frames to the recording."""
        try:
            self.journal.record(frames)
        except (OSError, Gemma4Error) as error:
            self._unwritten(error)

    def close_clip(self) -> Attachment | None:
        """Make an attachment of what was recorded; None where that is nothing."""
        try:
            clip = self.journal.end_recording()
        except (OSError, Gemma4Error) as error:
            self._unwritten(error)
            return None
        return clip and self.attach(Ready("sound", clip[0], RECORDED, seconds=clip[1]))

    def tell(self, problem: Problem) -> None:
        """Add a problem, unless it is the last one again."""
        if not self.problems or self.problems[-1] != problem:
            self.problems.append(problem)

    def _recover(self) -> None:
        """End what a crash left open: a recording waits to be sent, an answer is interrupted."""
        if self.journal.path(RECORDING).is_file():
            self.close_clip()
        for turn in [one for one in self.history.turns.values() if not one.over]:
            spoken = turn.state == "recording"
            self.write(TurnsRemoved(turn.id) if spoken else TurnEnded(turn.id, "interrupted"))

    def _unwritten(self, error: OSError | Gemma4Error) -> None:
        cause = error.cause if isinstance(error, Gemma4Error) else f"{error}."
        remedy = "Make room on the disk; what is said from now on may be lost."
        self.tell(
            Problem("conversation_not_saved", "The conversation cannot be kept", cause, remedy)
        )
