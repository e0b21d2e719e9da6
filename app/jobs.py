"""A model that is on its way here while the program is used: `gemma4 get` in a process of its own.

It reports its progress from a thread, and None at the end. One that was stopped resumes where it
was when it is started again. Knows nothing of Textual.
"""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from mlx_gemma4.hub.progress import Progress
from mlx_gemma4.runtime.reports import Failed
from mlx_gemma4.runtime.threads import start_thread

from .devices.machine import GEMMA4
from .state import Download, Problem

OnProgress = Callable[[Download | None], object]


class GetJob:
    """One run of `gemma4 get`.

    Args:
        name: a package of the Hub.
        recipe: of the conversion; empty for the recommended one, or where there is none.
        on_progress: called, from a thread, with how far it is; at the end with None.

    Attributes:
        at: how far it is.
        folder: where the model is; empty until it is whole.
        problem: why it ended without one; None where it was stopped, or has not ended.
        closing: it was stopped because the program ends.
    """

    def __init__(self, name: str, recipe: str, on_progress: OnProgress) -> None:
        self.name = name
        self.at = Download(name)
        self.folder = ""
        self.problem: Problem | None = None
        self.closing = self._stopped = False
        self._on_progress = on_progress
        own = ["--recipe", recipe] if recipe else []
        self._process = subprocess.Popen(
            [*GEMMA4, "get", name, "--yes", "--json", *own],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C in the terminal is for the program
        )
        start_thread(self._read, "download", self._fail)

    def stop(self) -> None:
        """Stop it; what has come stays."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Stop it because the program ends: the next start goes on with it."""
        self.closing = True
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._take(json.loads(line))
        status = self._process.wait()
        if not self.folder and not self._stopped and self.problem is None:
            self._ended(f"gemma4 get ended with status {status}.", "Try it again: what came stays.")
        self._on_progress(None)

    def _take(self, line: Mapping[str, Any]) -> None:
        """Take what `gemma4 get --json` prints: a plan, progress, and a folder or an error."""
        if plan := line.get("plan"):
            self.at = Download(self.name, "starting", Progress(plan["held"], plan["download"], 0.0))
        elif stage := line.get("stage"):
            self.at = Download(self.name, stage, Progress(**line["download"]), line["share"])
        elif error := line.get("error"):
            title = f"{self.name} did not come: {error['title']}"
            self.problem = Problem(
                error["code"], title, error["cause"], error["remedy"], source="job"
            )
        self.folder = line.get("folder", "")
        self._on_progress(self.at)

    def _fail(self, failed: Failed) -> None:
        self._ended(failed.cause, failed.remedy)
        self._on_progress(None)

    def _ended(self, cause: str, remedy: str) -> None:
        title = f"{self.name} did not come"
        self.problem = Problem("download_failed", title, cause, remedy, source="job")
