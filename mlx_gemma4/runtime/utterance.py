"""What was spoken and is not read yet. Knows nothing of MLX."""

from collections import deque

import numpy as np

from ..media.audio import Frames
from .pace import SHORTEST, Pace


class UnreadSpeech:
    """Frames that came and are not read yet, in the order of speech.

    Args:
        number: the id of the command that brings them.

    Attributes:
        over: no more will come.
        reading: some are being read now.
        alone: the next chunk will have nothing but sound to read; the first has not.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting = 0
        self.over = self.reading = self.alone = False
        self.pace = Pace()
        self._frames: deque[Frames] = deque()

    def add(self, frames: Frames) -> None:
        """Add frames (n, 640)."""
        self._frames.append(np.asarray(frames, np.float32))
        self.waiting += len(frames)

    def take(self, most: int) -> Frames:
        """Take out the first frames, at most so many."""
        together = np.concatenate([*self._frames])
        self._frames.clear()
        if len(together) > most:
            self._frames.append(together[most:])
        self.waiting = max(0, self.waiting - most)
        return together[:most]

    def ready(self) -> bool:
        """Whether enough has come to read it, or all of it."""
        wanted = SHORTEST if self.pace.behind else self.pace.frames
        return self.over or self.reading or self.waiting >= wanted

    def yields(self) -> bool:
        """Whether other commands may be carried out before more is read."""
        return not self.over and not self.reading
