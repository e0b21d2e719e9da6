"""Threads that never end in silence: whatever stops one is logged and reported."""

import logging
import threading
from collections.abc import Callable

from mlx_gemma4.errors import Gemma4Error

_log = logging.getLogger(__name__)


def run_thread(
    name: str, work: Callable[[], object], failed: Callable[[Exception], object]
) -> threading.Thread:
    """Start a daemon thread.

    Args:
        name: of the thread, for the log.
        work: what it does.
        failed: called, from the thread, with any exception that ended it.
    """

    def run() -> None:
        try:
            work()
        except Exception as error:
            if not isinstance(error, Gemma4Error):
                _log.exception("the thread %s ended", name)
            failed(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
