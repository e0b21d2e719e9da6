"""What the process of `process.py` runs: an engine between the two ends of a pipe.

python -m mlx_gemma4.engine.child DESCRIPTOR
"""

import contextlib
import faulthandler
import signal
import sys
import threading
from multiprocessing.connection import Connection

from .worker import Engine


def main() -> None:
    """Serve commands until the program says None, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then says so
    faulthandler.enable()
    pipe = Connection(int(sys.argv[1]))
    with Engine() as engine:
        forward = threading.Thread(target=_forward, args=(engine, pipe))
        forward.start()
        with contextlib.suppress(EOFError, OSError):
            while (message := pipe.recv()) is not None:
                engine.take(*message)
    forward.join()


def _forward(engine: Engine, pipe: Connection) -> None:
    """Pass every report on. Where nobody reads any more they are dropped, so that it can end."""
    for report in engine:
        with contextlib.suppress(OSError):
            pipe.send(report)


if __name__ == "__main__":
    main()
