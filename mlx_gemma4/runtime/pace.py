"""Decides how many frames are read at once while they are spoken, by how fast that goes.

Knows nothing of MLX. A chunk costs about the same for few frames as for one (every weight is read
once): larger chunks are cheaper per frame, and smaller ones leave less to do at the end of speech.
"""

from ..media.audio import FRAME, RATE

SHORTEST = 10
"""Frames in the smallest chunk: 400 ms."""
LONGEST = 60
"""Frames in the largest: 2.4 s. Beyond it a frame hardly gets cheaper."""
BUSY = 0.5  # larger chunks above this share of the time,
CALM = 0.15  # smaller ones below; the gap keeps the size from oscillating
FRAME_SECONDS = FRAME / RATE


class Pace:
    """Decides for one utterance. `frames` is how many should have come before they are read."""

    def __init__(self) -> None:
        self.frames = SHORTEST
        self.speed = 0.0
        """Seconds of sound that were read in a second, in the last chunk that was counted."""
        self._slow = 0

    def count(self, frames: int, seconds: float) -> None:
        """Learn from a chunk of so many frames that took so long, with nothing else in it."""
        share = seconds / (frames * FRAME_SECONDS)
        self.speed = 1 / share
        if share > BUSY:
            self.frames = min(LONGEST, 2 * self.frames)
        elif share < CALM:
            self.frames = max(SHORTEST, self.frames // 2)
        self._slow = self._slow + 1 if share > 1 and frames >= LONGEST else 0

    @property
    def behind(self) -> bool:
        """Whether even the largest chunks, two in a row, took longer than they last."""
        return self._slow >= 2
