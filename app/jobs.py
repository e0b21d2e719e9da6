"""Work on a model that goes on while the program is used: a download, or a conversion.

Both report their progress from a thread, a line at a time, and None at the end. One that was
stopped resumes where it was when it is started again. Knows nothing of Textual.
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
from typing import Protocol

from mlx_gemma4.hub import catalog
from mlx_gemma4.hub.progress import Progress
from mlx_gemma4.runtime.reports import Failed
from mlx_gemma4.runtime.threads import start_thread

from .devices.machine import GEMMA4

_SEQUENCES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
KEPT = 12
"""Lines that are kept, for the error at the end."""

Tell = Callable[[str | None], object]


class Job(Protocol):
    """One of them.

    Attributes:
        lines: the last ones: how far it is, or why it failed.
        ready: what to say where it has succeeded.
        failed: what to say where it has not.
    """

    lines: list[str]
    ready: str
    failed: str

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""

    def stop(self) -> None:
        """Stop it; what has come stays."""


class DownloadJob:
    """The download of a model that is used as the Hub has it.

    Args:
        source: a package of the catalogue that is on the Hub.
        tell: called, from the thread, with each line; at the end with None.
    """

    def __init__(self, source: str, tell: Tell) -> None:
        self.source = source
        self.lines: list[str] = []
        self.succeeded = False
        self.ready = f"{source} is ready, in F2."
        self.failed = f"{source} was not downloaded"
        self._tell = tell
        self._stopping = threading.Event()
        start_thread(self._run, "download", self._fail)

    def stop(self) -> None:
        """Stop it; what has come stays."""
        self._stopping.set()

    def _run(self) -> None:
        from mlx_gemma4.hub import hub

        package = catalog.packages()[self.source]
        repo, revision = str(package.repo), str(package.revision)
        found = hub.look_up(repo, revision)
        self.succeeded = (
            hub.download(found, revision, self._report, self._stopping.is_set) is not None
        )
        self._tell(None)

    def _fail(self, failed: Failed) -> None:
        self.lines = [f"{failed.title}.", failed.cause, failed.remedy]
        self._tell(None)

    def _report(self, progress: Progress) -> None:
        line = f"Downloaded {progress.told}"
        if self.lines != [line]:
            self.lines = [line]
            self._tell(line)


class ConversionJob:
    """`gemma4 convert` as a process of its own.

    It prints its progress on a terminal only, so it gets one (a pseudo-terminal).

    Args:
        source: a name of the catalogue.
        recipe: how many bits for what.
        target: the folder to write.
        tell: called, from a thread, with each line; at the end with None.
    """

    def __init__(self, source: str, recipe: str, target: Path, tell: Tell) -> None:
        self.source = source
        self.ready = f"{source} is ready: {target.name}, in F2."
        self.failed = f"{source} was not converted"
        self.lines: list[str] = []
        self._tell = tell
        target.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = pty.openpty()
        command = [*GEMMA4, "convert", source, "--recipe", recipe, "-o", str(target)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.close(theirs)
        start_thread(lambda: self._read(ours), "conversion", self._fail)

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

    def _fail(self, failed: Failed) -> None:
        self.lines = [*self.lines, failed.cause]
        self._tell(None)

    def _line(self, line: str) -> None:
        words = _SEQUENCES.sub("", line).strip()
        if words and self.lines[-1:] != [words]:
            self.lines = [*self.lines, words][-KEPT:]
            self._tell(words)
