"""A thread that passes on what a worker reports, in batches. Knows nothing of Textual."""

import time
from collections.abc import Callable

from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.reports import Failed, Report
from mlx_gemma4.runtime.threads import start_thread

REST = 1 / 60
"""Seconds between two batches: a screen shows no more."""
MOST = 512
"""Reports of a batch."""


class ReportReader:
    """Reads until the worker is closed.

    Args:
        client: to read.
        take: called, from the thread, with each batch.
        failed: called, from the thread, if it ends before.
    """

    def __init__(
        self,
        client: Client,
        take: Callable[[list[Report]], object],
        failed: Callable[[Failed], object],
    ) -> None:
        self._client, self._take = client, take
        self._thread = start_thread(self._read, "report reader", failed)

    def join(self, seconds: float) -> None:
        """Wait for its end, which comes with the worker's."""
        self._thread.join(seconds)

    def _read(self) -> None:
        while (first := self._client.read()) is not None:
            batch = [first]
            while len(batch) < MOST and (more := self._client.read(0)) is not None:
                batch.append(more)
            self._take(batch)
            time.sleep(REST)
