"""`gemma4 convert` as a process of its own, and what it tells while it downloads and converts.

It tells on a terminal only, so it is given one (a pseudo-terminal). Knows nothing of Textual.
"""

import contextlib
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from .computer import GEMMA4

_SEQUENCES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
KEPT = 12
"""Lines that are kept, for the error at the end."""


class Converting:
    """A conversion that runs. A run that was stopped goes on where it was when it is begun again.

    Args:
        source: a name of the catalogue.
        recipe: how many bits for what.
        target: the folder to write.
        tell: called, from a thread, with each line; at the end with None.

    Attributes:
        lines: the last ones.
        ready: what to say where it has succeeded.
        failed: what to say where it has not.
    """

    def __init__(
        self, source: str, recipe: str, target: Path, tell: Callable[[str | None], object]
    ) -> None:
        self.source = source
        self.ready = f"{source} is ready: {target.name}, in F2."
        self.failed = f"{source} was not converted"
        self.lines: list[str] = []
        target.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = pty.openpty()
        command = [*GEMMA4, "convert", source, "--recipe", recipe, "-o", str(target)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.close(theirs)
        self._tell = tell
        threading.Thread(target=self._read, args=(ours,), name="converting", daemon=True).start()

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self._process.poll() == 0

    def stop(self) -> None:
        """Stop it; what was downloaded stays."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def _read(self, terminal: int) -> None:
        rest = ""
        with contextlib.suppress(OSError):  # how the end of a pseudo-terminal is told
            while chunk := os.read(terminal, 4096):
                rest += chunk.decode(errors="replace")
                *whole, rest = re.split(r"[\r\n]+", rest)
                for line in [*whole, rest]:
                    self._line(line)
        os.close(terminal)
        self._process.wait()
        self._tell(None)

    def _line(self, line: str) -> None:
        words = _SEQUENCES.sub("", line).strip()
        if words and self.lines[-1:] != [words]:
            self.lines = [*self.lines, words][-KEPT:]
            self._tell(words)
