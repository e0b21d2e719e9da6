"""A turn as a Chrome trace, made of a worker's reports: open it in Perfetto or chrome://tracing.

Knows nothing of MLX. The format is that of "Trace Event Format" (Google): complete events ("X")
and instants ("i"), times in microseconds.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from ..events import Done, Heard, Token
from ..hub import disk
from .reports import FellBehind, Hearing, Loaded, Report

SPEECH, MODEL = "speech", "model"
_TRACKS = (SPEECH, MODEL)


class Trace:
    """Collects the events of a trace, with their times."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        # the times of the replies that are being drawn, by conversation
        self._tokens: defaultdict[str | None, list[float]] = defaultdict(list)

    def add(self, report: Report) -> None:
        at, event = report.time, report.event
        if isinstance(event, Loaded):
            self.span("load", MODEL, at - event.seconds, at)
        elif isinstance(event, Hearing) and event.frames:
            known = {"frames": event.frames, "heard": event.heard, "backlog": event.backlog}
            self.span("chunk", MODEL, at - event.took, at, known)
        elif isinstance(event, FellBehind):
            self._instant("fell behind", at, {"speed": event.speed})
        elif isinstance(event, Heard):
            self._instant("heard", at, {"text": event.text})
        elif isinstance(event, Token):
            self._tokens[report.conversation].append(at)
            self._instant("token", at, {"text": event.text})
        elif isinstance(event, Done) and (tokens := self._tokens.pop(report.conversation, None)):
            started = tokens[0] - event.stats.get("seconds_to_first_token", 0.0)
            self.span("prefill", MODEL, started, tokens[0])
            self.span("decode", MODEL, tokens[0], tokens[-1], dict(event.stats))

    def span(
        self, name: str, track: str, start: float, stop: float, known: dict[str, Any] | None = None
    ) -> None:
        """Add something that lasted; times are those of `time.perf_counter`, in seconds."""
        self._put(name, track, start, {"ph": "X", "dur": (stop - start) * 1e6}, known)

    def _instant(self, name: str, at: float, known: dict[str, Any]) -> None:
        self._put(name, MODEL, at, {"ph": "i", "s": "t"}, known)

    def save(self, path: Path) -> None:
        """Write a private file, and make its folder; times are counted from the first event."""
        first = min((event["ts"] for event in self._events), default=0)
        events = [{**event, "ts": event["ts"] - first} for event in self._events]
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": track}}
            for number, track in enumerate(_TRACKS)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(disk.PRIVATE)  # what was heard and answered is in it
        path.write_text(json.dumps({"traceEvents": names + events}) + "\n", encoding="utf-8")

    def _put(
        self, name: str, track: str, at: float, kind: dict[str, Any], known: dict[str, Any] | None
    ) -> None:
        place = {"pid": 1, "tid": _TRACKS.index(track), "ts": at * 1e6}
        self._events.append({"name": name, **kind, **place, "args": known or {}})
