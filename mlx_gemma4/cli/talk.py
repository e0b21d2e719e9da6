"""What `gemma4 listen` does with what is spoken: each turn is answered, and answers are printed."""

import time

from ..capture.microphone import silent as silent_microphone
from ..events import Done, Event, Token
from ..runtime.client import Client
from ..runtime.commands import Reply, Stop
from ..runtime.live import LiveObserver
from ..runtime.notices import sentence
from ..runtime.reports import Failed, FellBehind, ImageAdded, Noted, Report, WorkerEvent
from .answer import Printer, inform


def remark(event: Event | WorkerEvent) -> None:
    """Print what the user may want to know of an event beside the answer."""
    if isinstance(event, ImageAdded):
        for note in event.notes:
            inform(note)
    elif isinstance(event, Noted | FellBehind):  # what belongs to a reply is printed with it
        inform(sentence(event))


class Talk(LiveObserver):
    """Turns from the microphone: each is answered when it ends, and answers are printed."""

    def __init__(self, client: Client, reply: Reply) -> None:
        self.failed: Failed | None = None
        self._client = client
        self._reply = reply
        self._device = ""
        self._printer = Printer()
        self._ended = 0.0
        self._first: float | None = None  # seconds from the end of speech to the first token

    def opened(self, name: str) -> None:
        self._device = name

    def speech_started(self) -> None:
        """Cancel the answer that somebody speaks over."""
        self._client.send(Stop())

    def ended(self) -> None:
        self._ended, self._first = time.perf_counter(), None
        self._client.send(self._reply)

    def silent(self, silent: bool) -> None:
        """Print what to do about a microphone that returns only zeros."""
        if silent:
            problem = silent_microphone(self._device)
            inform(f"{problem.title}. {problem.cause} {problem.remedy}")

    def lost(self, failed: Failed) -> None:
        self.failed = failed

    def take(self, report: Report) -> None:
        event = report.event
        remark(event)
        if isinstance(event, Failed):
            if report.command is None:
                raise event.error()
            inform(f"{event.title}. {event.cause} {event.remedy}")
        if isinstance(event, Event):
            self._printer.show(event)
        if isinstance(event, Token) and self._first is None:
            self._first = report.time - self._ended
        if isinstance(event, Done) and self._first is not None:
            inform(f"[{self._first:.2f} s after the end of speech]")
