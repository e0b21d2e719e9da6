"""The program's side of a worker: commands go in, reports come out, and neither is lost.

Knows nothing of MLX, nor of who does the work: a thread (`worker.py`), a process of its own
(`subprocess_worker.py`) or a script (`testing.ScriptedWorker`).
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Self

from ..errors import Gemma4Error
from ..media.audio import FRAME, RATE, need_frames
from .commands import Close, Command, Discard, EndSpeech, Hear, Load, Open, Reply, Stop
from .reports import Closed, Crashed, Failed, Finished, Hearing, Report

UNFINISHED = 64
"""The most commands that may wait to be carried out. A program that sends more has a defect."""
UNREAD = 1024
"""The most reports that wait to be read. Then the worker waits: a slow reader loses nothing."""
BUFFER_SECONDS = 600
"""The most sound that may wait to be heard: 38 MB."""

ENDS_SPEECH = (EndSpeech, Reply, Discard, Open, Close)
"""The commands after which further frames of their conversation are another utterance."""


class Client(ABC):
    """Commands in, reports out. Any thread may call any method, and only `read` and `close` wait.

    A subclass carries out what `_accept` receives, reports with `_report`, and ends with `Closed`.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._reports: deque[Report] = deque()
        self._ids = 0
        self._unfinished: dict[int, str | None] = {}  # command -> its conversation
        self._utterances: dict[str, int] = {}  # conversation -> the id of its current frames
        self._waiting: dict[int, int] = {}  # utterance -> frames that came,
        self._heard: dict[int, int] = {}  # and those that `Hearing` reported
        self._closing = self._closed = False

    def send(self, command: Command) -> int:
        """Ask for something.

        Returns:
            The id that reports about it carry. All frames of one utterance have one.

        Raises:
            Gemma4Error: if the worker was closed, UNFINISHED commands wait (`Stop` is accepted in
                any case), the frames are malformed, or BUFFER_SECONDS of sound wait. The command is
                not accepted then.
        """
        with self._lock:
            if self._closing:
                raise _closed().error()
            number = None
            if isinstance(command, Hear):
                number = self._utterances.get(command.conversation)
            if number is None:
                if len(self._unfinished) >= UNFINISHED and not isinstance(command, Stop):
                    raise Gemma4Error(
                        "worker_busy",
                        "The worker is busy",
                        f"{UNFINISHED} commands wait to be carried out.",
                        "Wait for the reports that they are finished.",
                    )
                number = self._ids + 1
            if isinstance(command, Hear):
                self._check(command)
            self._ids = max(self._ids, number)
            self.accept(number, command)
            return number

    def accept(self, number: int, command: Command) -> None:
        """Accept a command whose id was chosen elsewhere: `send` without its checks."""
        with self._lock:
            self._unfinished[number] = getattr(command, "conversation", None)
            if isinstance(command, Hear):
                self._utterances[command.conversation] = number
                self._waiting[number] = self._waiting.get(number, 0) + len(command.frames)
            elif isinstance(command, Load):
                self._utterances.clear()
            elif isinstance(command, ENDS_SPEECH):
                self._utterances.pop(command.conversation, None)
            self._accept(number, command)
            self._lock.notify_all()

    def read(self, timeout: float | None = None) -> Report | None:
        """Wait for the next report.

        Returns:
            None after `timeout` seconds, and when `Closed` has been read.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._reports or self._closed, timeout)
            if not self._reports:
                return None
            self._lock.notify_all()
            return self._reports.popleft()

    def __iter__(self) -> Iterator[Report]:
        """Read all reports, up to `Closed`."""
        while (report := self.read()) is not None:
            yield report

    def until(self, number: int) -> Iterator[Report]:
        """Read reports, those of other commands too, until this command is finished.

        Raises:
            Gemma4Error: if it failed, or the worker ended before.
        """
        for report in self:
            if report.command == number and isinstance(report.event, Failed):
                raise report.event.error()
            yield report
            if report.command == number and isinstance(report.event, Finished):
                return
        raise _closed().error()

    @abstractmethod
    def start(self) -> None:
        """Start again after a crash (`reports.Crashed`); nothing happens where it runs."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what is being done, end, and wait for that. Reports can still be read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _accept(self, number: int, command: Command) -> None:
        """Queue a command; called with the lock held, and must not wait."""

    def _report(self, report: Report) -> None:
        """Pass a report to the reader, and wait where it is slow, unless the worker is closing."""
        with self._lock:
            self._lock.wait_for(lambda: len(self._reports) < UNREAD or self._closing)
            self._reports.append(report)
            number, event = report.command, report.event
            if number is not None and isinstance(event, Finished | Failed):
                conversation = self._unfinished.pop(number, None)
                self._waiting.pop(number, None)
                self._heard.pop(number, None)
                # it failed: frames that come now start another
                if conversation is not None and self._utterances.get(conversation) == number:
                    del self._utterances[conversation]
            elif number is not None and isinstance(event, Hearing):
                self._heard[number] = round(event.heard * RATE / FRAME)
            elif isinstance(event, Closed):
                self._closed = True
            self._lock.notify_all()

    def _end(self) -> None:
        """Report each command that is left as failed, and that nothing more comes."""
        with self._lock:
            self._closing = True
            self._fail_all(_closed())
            self._report(Report(None, Closed()))

    def _crash(self, crash: Crashed) -> None:
        """Report a crash, after each command that is left: it was not carried out."""
        with self._lock:
            self._utterances.clear()
        self._fail_all(Failed(crash.code, crash.title, crash.cause, crash.remedy))
        self._report(Report(None, crash))

    def _fail_all(self, failed: Failed) -> None:
        for number, conversation in sorted(self._unfinished.items()):
            self._report(Report(number, failed, conversation))

    def _check(self, command: Hear) -> None:
        need_frames(command.frames)
        waiting = sum(self._waiting.values()) - sum(self._heard.values()) + len(command.frames)
        if waiting * FRAME / RATE > BUFFER_SECONDS:
            raise Gemma4Error(
                "hearing_backlog",
                "The worker cannot hear any more",
                f"{BUFFER_SECONDS} s of sound wait to be heard.",
                "Stop the recording, and wait until it is read.",
            )


def _closed() -> Failed:
    return Failed(
        "worker_closed", "The worker is closed", "The program closed it.", "Start another worker."
    )
