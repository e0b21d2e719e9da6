"""Threads whose exceptions are reported: logged, and passed to whoever started them."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Failure = Callable[[Exception], object]


def start(work: Callable[[], object], name: str, failed: Failure | None = None) -> threading.Thread:
    """Start a daemon thread: what waits in MLX must not keep a process alive.

    Args:
        work: what it does.
        name: of the thread, for the log.
        failed: called from the thread with the exception that ended the work; what that raises in
            turn is logged.
    """
    thread = threading.Thread(target=lambda: guarded(work, name, failed), name=name, daemon=True)
    thread.start()
    return thread


def guarded(work: Callable[[], object], name: str, failed: Failure | None = None) -> None:
    """Do work in a thread that somebody else started; arguments as in `start`."""
    try:
        work()
    except Exception as error:
        log.exception("The thread %s has failed", name)
        if failed is not None:
            try:
                failed(error)
            except Exception:
                log.exception("The failure of the thread %s could not be reported", name)
