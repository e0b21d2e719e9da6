"""A thread that passes on what an engine tells, in batches. Knows nothing of Textual."""

import threading
import time
from collections.abc import Callable

from mlx_gemma4.runtime.client import Port
from mlx_gemma4.runtime.reports import Report

REST = 1 / 60
"""Seconds between two batches: a screen shows no more."""
MOST = 512
"""Reports of a batch."""


class Reader:
    """Reads until the engine is closed.

    Args:
        engine: to read.
        take: called, from the thread, with each batch.
    """

    def __init__(self, engine: Port, take: Callable[[list[Report]], object]) -> None:
        self._engine, self._take = engine, take
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for its end, which comes with the engine's."""
        self._thread.join(seconds)

    def _read(self) -> None:
        while (first := self._engine.read()) is not None:
            batch = [first]
            while len(batch) < MOST and (more := self._engine.read(0)) is not None:
                batch.append(more)
            self._take(batch)
            time.sleep(REST)
