"""Watching the screen: which of its pictures are worth showing."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

REDUCTION = 8
"""Pixels of a side of the squares that are compared."""
DIFFERENCE = 12
"""Levels of 255 by which a square's brightness must differ."""
SHARE = 0.001
"""Squares that must differ, of all. Of the 32,400 of 1920x1080 a cursor that blinks has 3, a clock
10, and a line of text 250."""


class Watch:
    """Tells when a picture should be shown.

    Args:
        seconds: the least time between two of them.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._shown: NDArray[np.int16] | None = None
        self._last = -np.inf

    def look(self, image: Image.Image, now: float) -> bool:
        """Look at the screen; say whether this picture should be shown.

        It is compared with the one that was shown last, so that a change that comes too soon after
        it is seen later.

        Args:
            image: of the screen.
            now: seconds on any clock that does not go back.
        """
        if now - self._last < self.seconds:
            return False
        small = np.asarray(image.convert("L").reduce(REDUCTION), np.int16)
        if self._shown is not None and small.shape == self._shown.shape:
            different = np.abs(small - self._shown) > DIFFERENCE
            if different.mean() < SHARE:
                return False
        self._shown, self._last = small, now
        return True
