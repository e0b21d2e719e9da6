"""What a worker reports, in batches. Knows nothing of Textual."""

import time
from collections.abc import Callable

from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.reports import Report

REST = 1 / 60
"""Seconds between two batches: a screen shows no more."""
MOST = 512
"""Reports of a batch."""


def read_reports(client: Client, take: Callable[[list[Report]], object]) -> None:
    """Pass on each batch until the worker is closed; for a thread of its own."""
    while (first := client.read()) is not None:
        batch = [first]
        while len(batch) < MOST and (more := client.read(0)) is not None:
            batch.append(more)
        take(batch)
        time.sleep(REST)
