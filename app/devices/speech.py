"""Answers read aloud while they are written: by `say` on a Mac, else by espeak-ng.

A thread speaks one sentence after another, each by a process of its own. Nothing here makes the
caller wait, and `stop` is heard at once: the process is killed with all that it has started.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence

from mlx_gemma4.capture.sentences import Sentences
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.reports import Failed
from mlx_gemma4.runtime.threads import start_thread


class SpeechOutput:
    """Speaks the pieces of an answer, by a command that reads from stdin (`voices.command`).

    `changed` is called, from the speaker's thread, when it starts or ends speaking, and when it
    meets a problem. `problem` is what kept it from speaking last; None where it spoke.
    """

    def __init__(self, speak: Sequence[str], changed: Callable[[], object] = lambda: None) -> None:
        self.problem: Gemma4Error | None = None
        self._command = list(speak)
        self._changed = changed
        self._lock = threading.Condition()
        self._queue: deque[str] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._speaking = self._closing = False
        self._sentences = Sentences()
        self._thread = start_thread(self._serve, "speech", self._broken)

    @property
    def speaking(self) -> bool:
        """Whether something is being spoken, or waits to be."""
        with self._lock:
            return self._speaking or bool(self._queue)

    def add(self, piece: str) -> None:
        with self._lock:
            self._say(self._sentences.add(piece))

    def finish(self) -> None:
        """Speak the rest of the answer: it is over."""
        with self._lock:
            self._say(self._sentences.finish())

    def stop(self) -> None:
        """Be silent at once, and forget what was to be spoken."""
        with self._lock:
            self._queue.clear()
            self._sentences = Sentences()
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Be silent for good, and wait until the thread has ended."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self.stop()
        self._thread.join()

    def _say(self, sentences: list[str]) -> None:
        self._queue += sentences
        self._lock.notify()

    def _serve(self) -> None:
        while True:
            with self._lock:
                ended = self._speaking and not self._queue
                if ended:
                    self._speaking = False
            if ended:
                self._changed()
            with self._lock:
                self._lock.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                starts, self._speaking = not self._speaking, True
                text = self._queue.popleft()
                self._start()
            if starts:
                self._changed()
            if self._process is not None:
                self._wait(self._process, text)
            if self.problem is not None:
                self._changed()

    def _broken(self, failed: Failed) -> None:
        with self._lock:
            self._speaking = False
            self._fail(failed.cause)
        self._changed()

    def _start(self) -> None:
        """Start the process, with the lock held, so that `stop` finds it."""
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a group of its own, to be killed as a whole
            )
        except OSError as error:
            self._fail(str(error))

    def _wait(self, process: "subprocess.Popen[bytes]", text: str) -> None:
        _, said = process.communicate(text.encode())
        with self._lock:
            self._process = None
            if process.returncode == 0:
                self.problem = None
            elif process.returncode != -signal.SIGKILL:  # which is how it is stopped
                message = said.decode(errors="replace").strip()
                self._fail(message or f"it ended with status {process.returncode}")

    def _fail(self, said: str) -> None:
        self._queue.clear()
        self.problem = Gemma4Error(
            "voice_failed",
            "The answer cannot be read aloud",
            f"{self._command[0]}: {said}.",
            "Choose another voice in the settings (F3), or switch reading off (F8).",
        )
