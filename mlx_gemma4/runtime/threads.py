"""Threads whose exceptions become reports."""

import threading
from collections.abc import Callable

from .. import threads
from .reports import Failed

Reporter = Callable[[Failed], object]


def start_thread(
    work: Callable[[], object], name: str, failed: Reporter | None = None
) -> threading.Thread:
    """As `threads.start`, but `failed` is called with the exception as a report has it."""
    return threads.start(work, name, _of_reports(failed))


def guarded(work: Callable[[], object], name: str, failed: Reporter | None = None) -> None:
    """As `threads.guarded`, but with `failed` as in `start_thread`."""
    threads.guarded(work, name, _of_reports(failed))


def _of_reports(failed: Reporter | None) -> threads.Failure | None:
    return None if failed is None else lambda error: failed(Failed.of(error))
