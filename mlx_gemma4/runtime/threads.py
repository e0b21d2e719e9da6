"""Threads whose exceptions become reports."""

import threading
from collections.abc import Callable

from .. import threads
from .reports import Failed


def start_thread(
    work: Callable[[], object], name: str, failed: Callable[[Failed], object] | None = None
) -> threading.Thread:
    """As `threads.start`, but `failed` is called with the exception as a report has it."""
    report = None if failed is None else lambda error: failed(Failed.of(error))
    return threads.start(work, name, report)
