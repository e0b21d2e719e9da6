"""What `gemma4 live` plays and prints: a sound as a source, and what happens when."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Gemma4Error, counted
from ..events import Done, Event, Token
from ..media.audio import Samples
from ..runtime.client import Client
from ..runtime.commands import Reply
from ..runtime.live import Live, LiveObserver
from ..runtime.pace import FRAME_SECONDS, SHORTEST
from ..runtime.reports import Failed, Hearing, Report
from ..runtime.trace import Trace
from .answer import inform
from .talk import remark


class Player:
    """A sound as a source: each frame when it is due, or each chunk when the last was heard.

    Args:
        sound: (n, 640) frames.
        realtime: whether to wait for each frame.
    """

    name = "file"
    level = silent_seconds = 0.0

    def __init__(self, sound: Samples, realtime: bool) -> None:
        self._sound, self._size = sound, 1 if realtime else SHORTEST
        self._realtime = realtime
        self._at = 0
        self._due = 0.0
        self._heard = threading.Event()

    def go_on(self) -> None:
        """Note that what was read last has been heard."""
        self._heard.set()

    def read(self, timeout: float) -> Samples | None:
        """The next frames; None at the end."""
        now = time.perf_counter()
        if self._realtime:
            self._due = (self._due or now) + FRAME_SECONDS
            time.sleep(max(0.0, self._due - now))
        elif self._at:
            self._heard.wait(max(0.0, self._due - now))
        self._heard.clear()
        if not self._realtime:
            self._due = time.perf_counter() + self._size * FRAME_SECONDS
        start, self._at = self._at, self._at + self._size
        return self._sound[start : self._at] if start < len(self._sound) else None

    def close(self) -> None:
        """Do nothing."""


class Timeline(LiveObserver):
    """Prints on stderr what happens when, asks for the reply, and keeps it all as a trace."""

    def __init__(self, client: Client, reply: Reply) -> None:
        self.trace = Trace()
        self.figures: dict[str, Any] = {"chunks": []}
        self.heard_more: Callable[[], None] = lambda: None
        self._client, self._reply = client, reply
        self._asked = False
        self._failed: Failed | None = None
        self._started = self._ended = time.perf_counter()

    def speech_started(self) -> None:
        self._started = time.perf_counter()
        self.line("speech starts")

    def ended(self) -> None:
        """Nobody speaks any more: ask for the first reply."""
        if self._asked:
            return
        self._asked = True
        self._ended = time.perf_counter()
        self.figures["seconds_of_speech"] = self._ended - self._started
        self.trace.span("speech", "speech", self._started, self._ended)
        self.line("end of speech")
        self._client.send(self._reply)

    def lost(self, failed: Failed) -> None:
        self._failed = failed

    def line(self, text: str, at: float | None = None) -> None:
        """Print what happens, at a time or now."""
        inform(f"{(at or time.perf_counter()) - self._started:7.2f} s  {text}")

    def take(self, report: Report) -> None:
        event = report.event
        if isinstance(event, Failed):
            raise event.error()
        self.trace.add(report)
        remark(event)
        if isinstance(event, Hearing) and event.frames:
            late = event.backlog >= SHORTEST * FRAME_SECONDS
            behind = f", {event.backlog:.2f} s behind" if late else ""
            took = f"{counted(event.frames, 'frame')} in {1000 * event.took:.0f} ms"
            self.line(f"heard {event.heard:.2f} s: {took}{behind}", report.time)
            chunk = {"frames": event.frames, "seconds": event.took, "backlog": event.backlog}
            self.figures["chunks"].append(chunk)
        if isinstance(event, Hearing):
            self.heard_more()

    def events(self, live: Live) -> Iterator[Event]:
        """Yield the reply's events; raise Gemma4Error where nobody speaks, or something fails."""
        while True:
            over = live.over
            if self._failed is not None:
                raise self._failed.error()
            if over and not self._asked:
                raise Gemma4Error(
                    "speech_missing",
                    "Nobody speaks in this sound",
                    "The gate found no speech.",
                    "Play another sound, or leave --gate out.",
                )
            if (report := self._client.read(0.1)) is None:
                continue
            self.take(report)
            if isinstance(report.event, Token) and "seconds_after_speech" not in self.figures:
                after = report.time - self._ended
                self.figures["seconds_after_speech"] = after
                self.line(f"first token, {after:.3f} s after the end of speech", report.time)
            if isinstance(report.event, Event):
                yield report.event
            if isinstance(report.event, Done):
                return
