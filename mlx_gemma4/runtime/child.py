"""What the process of `subprocess_worker.py` runs: a worker between the two ends of a pipe.

python -m mlx_gemma4.runtime.child DESCRIPTOR
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection

from ..cluster.hosts import LOST
from .reports import Crashed, Failed, Report
from .threads import start_thread
from .worker import Worker


def main() -> None:
    """Serve commands until the program sends None, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then closes it
    # to stderr, which is the log file: what MLX or the system write when they abort goes there too
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    faulthandler.enable()
    pipe = Connection(int(sys.argv[1]))
    with Worker() as worker:
        forward = start_thread(lambda: _forward(worker, pipe), "reports")
        with contextlib.suppress(EOFError, OSError):
            while (message := pipe.recv()) is not None:
                worker.accept(*message)
    forward.join()


def _forward(worker: Worker, pipe: Connection) -> None:
    """Pass every report on. Where nobody reads any more they are dropped: the worker can end.

    A process that has lost a computer with layers of its model is useless: it ends as crashed.
    """
    for report in worker:
        event = report.event
        with contextlib.suppress(OSError):
            if isinstance(event, Failed) and event.code == LOST:
                pipe.send(Report(None, Crashed(event.code, event.title, event.cause, event.remedy)))
                os._exit(1)
            pipe.send(report)


if __name__ == "__main__":
    main()
