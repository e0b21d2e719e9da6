"""Watches the screen on a thread, and reports pictures that are worth showing."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlx_gemma4.runtime.reports import Failed
from mlx_gemma4.runtime.threads import start_thread

from ..state import Problem
from .screen import Shot

REDUCTION = 8
"""Pixels on each side of the squares that are compared."""
DIFFERENCE = 12
"""Levels of 255 by which a square's brightness must differ."""
SHARE = 0.001
"""Share of squares that must differ. Of the 32,400 of 1920x1080 a cursor that blinks has 3, a clock
10, and a line of text 250."""


@dataclass(frozen=True, eq=False)
class ScreenChanged:
    """The screen has changed; `at` is in seconds since an arbitrary time."""

    shot: Shot
    at: float


class ChangeDetector:
    """Decides when a picture should be shown; `seconds` is the least time between two of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._shown: NDArray[np.int16] | None = None
        self._last = -np.inf

    def look(self, image: Image.Image, now: float) -> bool:
        """Return whether this picture of the screen should be shown `now`, in seconds.

        It is compared with the one that was shown last, so that a change that comes too soon after
        it is seen later.
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


class ScreenWatcher:
    """Watches the whole screen from when it is made until `close`, after which `thread` ends.

    `report` is called, from the thread, with each change, or with why it cannot be watched.
    """

    def __init__(
        self,
        report: Callable[[ScreenChanged | Problem], object],
        seconds: float,
        take: Callable[[], Shot | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._take, self._seconds, self._clock = report, take, seconds, clock
        self._closing = threading.Event()
        self.forget()
        self.thread = start_thread(self._run, "screen watcher", self._fail)

    def close(self) -> None:
        """End the thread, without waiting for it."""
        self._closing.set()

    def forget(self) -> None:
        """Report the next picture, also where nothing has changed: the last one was not shown."""
        self._detector = ChangeDetector(self._seconds)

    def _fail(self, failed: Failed) -> None:
        self._report(Problem.of(failed, "screen"))

    def _run(self) -> None:
        while not self._closing.is_set():
            shot = self._take()
            now = self._clock()
            shown = shot is not None and self._detector.look(shot.image, now)
            if shot is not None and shown and not self._closing.is_set():
                self._report(ScreenChanged(shot, now))
            self._closing.wait(self._seconds)
