"""A thread that looks at the screen, and tells when its picture is worth showing."""

import threading
import time
from collections.abc import Callable

from textual.message import Message

from mlx_gemma4.errors import Gemma4Error

from ..messages import Blind, Seen
from ..state import Problem
from .screen import Shot, capture
from .watch import Watch


class Watcher:
    """Watches the whole screen from when it is made until `close`.

    Args:
        tell: called, from the thread, with what happens.
        seconds: the least time between two pictures.
        take: takes a picture.
        clock: seconds.

    Attributes:
        thread: that looks; it ends soon after `close`.
    """

    def __init__(
        self,
        tell: Callable[[Message], object],
        seconds: float,
        take: Callable[[], Shot | None] = lambda: capture("screen"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._take, self._seconds, self._clock = tell, take, seconds, clock
        self._closing = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End, without waiting for it."""
        self._closing.set()

    def _run(self) -> None:
        watch = Watch(self._seconds)
        while not self._closing.is_set():
            try:
                shot = self._take()
            except Gemma4Error as error:
                self._tell(Blind(Problem.of(error)))
                return
            now = self._clock()
            seen = shot is not None and watch.look(shot.image, now)
            if shot is not None and seen and not self._closing.is_set():
                self._tell(Seen(shot, now))
            self._closing.wait(self._seconds)
