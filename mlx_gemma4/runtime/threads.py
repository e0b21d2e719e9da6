"""Threads whose exceptions are reported: logged, and passed to whoever started them."""

import logging
import threading
from collections.abc import Callable

from .reports import Failed

log = logging.getLogger(__name__)


def start_thread(
    work: Callable[[], object],
    name: str,
    failed: Callable[[Failed], object] | None = None,
) -> threading.Thread:
    """Start a daemon thread.

    Args:
        work: what it does.
        name: of the thread, for the log.
        failed: called from the thread with whatever exception ended the work; what that raises in
            turn is logged.
    """
    thread = threading.Thread(target=lambda: guarded(work, name, failed), name=name, daemon=True)
    thread.start()
    return thread


def guarded(
    work: Callable[[], object], name: str, failed: Callable[[Failed], object] | None = None
) -> None:
    """Do work in a thread that somebody else started; arguments as in `start_thread`."""
    try:
        work()
    except Exception as error:
        log.exception("The thread %s has failed", name)
        if failed is not None:
            try:
                failed(Failed.of(error))
            except Exception:
                log.exception("The failure of the thread %s could not be reported", name)
