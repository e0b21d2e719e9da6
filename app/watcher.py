"""A thread that looks at the screen, and tells when its picture is worth showing."""

import threading
import time
from collections.abc import Callable

from textual.message import Message

from mlx_gemma4.errors import Gemma4Error

from .capture.screen import Shot, capture
from .capture.watch import Watch
from .messages import Blind, Seen
from .status import Problem


class Watcher:
    """Watches the whole screen from when it is made until `close`.

    Args:
        tell: called, from the thread, with what happens.
        seconds: the least time between two pictures.
    """

    def __init__(
        self,
        tell: Callable[[Message], object],
        seconds: float,
        take: Callable[[], Shot | None] = lambda: capture("screen"),
    ) -> None:
        self._tell, self._take, self._seconds = tell, take, seconds
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

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
            seen = shot is not None and watch.look(shot.image, time.monotonic())
            if shot is not None and seen and not self._closing.is_set():
                self._tell(Seen(shot))
            self._closing.wait(self._seconds)
