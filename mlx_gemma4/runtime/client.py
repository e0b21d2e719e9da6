"""The program's side of an engine: commands go in, reports come out, and neither is lost.

Knows nothing of MLX, nor of who does the work: a thread (`engine.py`), a process of its own
(`process.py`) or a script (`testing.FakeEngine`).
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Self

from ..errors import Gemma4Error
from ..media.audio import FRAME, RATE, need_frames
from .commands import Command, Discard, EndSpeech, Hear, Load, New, Reply, Restore, Rewind, Stop
from .reports import Closed, Crashed, Failed, Finished, Hearing, Report

UNANSWERED = 64
"""The most commands that may wait to be done. A program that sends more has lost its way."""
UNREAD = 1024
"""The most reports that wait to be read. Then the engine waits: a slow reader loses nothing."""
BUFFER_SECONDS = 600
"""The most sound that may wait to be heard: 38 MB."""

_START = "Start another engine."
ENDS_SPEECH = (EndSpeech, Reply, Discard, New, Load, Restore, Rewind)
"""The commands after which further frames are another utterance."""


class Port(ABC):
    """Commands in, reports out. Any thread may call any method, and only `read` and `close` wait.

    A subclass does what `_accept` is given, tells with `_tell`, and ends with `Closed`.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._reports: deque[Report] = deque()
        self._ids = 0
        self._unanswered: set[int] = set()
        self._utterance: int | None = None  # the id of the frames that come now
        self._waiting: dict[int, int] = {}  # utterance -> frames that came,
        self._heard: dict[int, int] = {}  # and those that `Hearing` told of
        self._closing = self._closed = False

    def send(self, command: Command) -> int:
        """Ask for something.

        Returns:
            The id by which reports answer it. All frames of one utterance have one.

        Raises:
            Gemma4Error: if the engine was closed, UNANSWERED commands wait (`Stop` is taken in any
                case), the frames are no frames, or BUFFER_SECONDS of sound wait. Nothing is taken.
        """
        with self._lock:
            if self._closing:
                raise Gemma4Error(
                    "worker_closed", "The engine is closed", "It was told to end.", _START
                )
            number = self._utterance if isinstance(command, Hear) else None
            if number is None:
                if len(self._unanswered) >= UNANSWERED and not isinstance(command, Stop):
                    raise Gemma4Error(
                        "worker_busy",
                        "The engine is busy",
                        f"{UNANSWERED} commands wait to be done.",
                        "Wait for the reports that they are finished.",
                    )
                number = self._ids + 1
            if isinstance(command, Hear):
                self._check(command)
            self._ids = max(self._ids, number)
            self.take(number, command)
            return number

    def take(self, number: int, command: Command) -> None:
        """Take a command whose id was given elsewhere: `send` without its checks."""
        with self._lock:
            self._unanswered.add(number)
            if isinstance(command, Hear):
                self._utterance = number
                self._waiting[number] = self._waiting.get(number, 0) + len(command.frames)
            elif isinstance(command, ENDS_SPEECH):
                self._utterance = None
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
        """Read reports until this command is done; those of others are given too.

        Raises:
            Gemma4Error: if it failed, or the engine ended before.
        """
        for report in self:
            if report.command == number and isinstance(report.event, Failed):
                raise report.event.error()
            yield report
            if report.command == number and isinstance(report.event, Finished):
                return
        raise Gemma4Error("worker_closed", "The engine is closed", "It was told to end.", _START)

    @abstractmethod
    def start(self) -> None:
        """Start again after a crash (`reports.Crashed`); nothing happens where it runs."""

    @abstractmethod
    def close(self) -> None:
        """Stop what is being done, end, and wait for that. Reports can still be read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _accept(self, number: int, command: Command) -> None:
        """Take a command to be done; called with the lock held, and must not wait."""

    def _tell(self, report: Report) -> None:
        """Give a report to the reader, who may be slow; not when it was told to end."""
        with self._lock:
            self._lock.wait_for(lambda: len(self._reports) < UNREAD or self._closing)
            self._reports.append(report)
            number, event = report.command, report.event
            if number is not None and isinstance(event, Finished | Failed):
                self._unanswered.discard(number)
                self._waiting.pop(number, None)
                self._heard.pop(number, None)
                if self._utterance == number:  # it failed: frames that come begin another
                    self._utterance = None
            elif number is not None and isinstance(event, Hearing):
                self._heard[number] = round(event.heard * RATE / FRAME)
            elif isinstance(event, Closed):
                self._closed = True
            self._lock.notify_all()

    def _end(self, cause: str = "It was told to end.") -> None:
        """Tell that nothing more comes, and of each command that is left that it was not done."""
        with self._lock:
            self._closing = True
            for number in sorted(self._unanswered):
                self._tell(
                    Report(number, Failed("worker_closed", "The engine is closed", cause, _START))
                )
            self._tell(Report(None, Closed()))

    def _crash(self, crash: Crashed) -> None:
        """Tell of a crash, after each command that is left: it was not done."""
        with self._lock:
            left, self._utterance = sorted(self._unanswered), None
        for number in left:
            self._tell(Report(number, Failed(crash.code, crash.title, crash.cause, crash.remedy)))
        self._tell(Report(None, crash))

    def _check(self, command: Hear) -> None:
        need_frames(command.frames)
        waiting = sum(self._waiting.values()) - sum(self._heard.values()) + len(command.frames)
        if waiting * FRAME / RATE > BUFFER_SECONDS:
            raise Gemma4Error(
                "hearing_backlog",
                "The engine cannot hear any more",
                f"{BUFFER_SECONDS} s of sound wait to be heard.",
                "Stop the recording, and wait until it is read.",
            )
