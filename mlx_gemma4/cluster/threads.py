"""Threads whose exceptions end in the hands of whoever started them. Knows no MLX."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


def start(
    work: Callable[[], object], name: str, failed: Callable[[Exception], object]
) -> threading.Thread:
    """Start a daemon thread: what waits in MLX for a frozen peer must not keep a process alive.

    Args:
        work: what it does.
        name: of the thread, for the log.
        failed: called from the thread with the exception that ended the work.
    """

    def run() -> None:
        try:
            work()
        except Exception as error:
            log.exception("The thread %s has failed", name)
            failed(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
