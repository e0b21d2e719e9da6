"""`gemma4 live`: plays a sound file as if it were spoken, and shows how it is heard.

The answer goes to stdout, the timeline and everything else to stderr.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hub import catalog
from . import options as shared
from .answer import print_json, print_text, tell
from .options import Option, command

if TYPE_CHECKING:
    from ..events import Event
    from ..media.audio import Samples
    from ..runtime.client import Port
    from ..runtime.commands import Command, Reply
    from ..runtime.reports import EngineEvent, Report

QUESTION = Option("--question", "words that belong to what is said", "TEXT")
HEARING = Option(
    "--hearing",
    "direct: the sound stands in the conversation; relay: it is written down first, and the words "
    "stand there; auto: what the model understands better (auto)",
    "HOW",
    choices=("auto", "direct", "relay"),
    default="auto",
)
HEARD = Option("--heard", "say what was understood, too")
OPTIONS = (
    Option("--audio", "the sound to play", "FILE", required=True),
    shared.IMAGE,
    QUESTION,
    Option("--realtime", "play it as fast as it was spoken, not as fast as it is heard"),
    Option("--trace", "write a Chrome trace, for ui.perfetto.dev", "FILE"),
    HEARING,
    HEARD,
    *shared.ANSWER,
    shared.JSON,
    shared.DEBUG,
)


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    command(
        commands,
        "live",
        "play a sound as if it were spoken, and show how it is heard",
        "Play a sound file as if it were spoken, and answer it. The timeline goes to stderr: what "
        "was heard when, the end of speech, and how long after it the answer began.",
        OPTIONS,
        _live,
    )


def _live(options: argparse.Namespace) -> None:
    from ..media.audio import frames, read_sound
    from ..runtime.commands import EndSpeech
    from ..runtime.worker import Engine

    recording = read_sound(options.audio)
    for note in recording.notes:
        tell(note)
    with Engine() as engine:
        timeline = _Timeline()
        prepare(engine, options, timeline.take)
        timeline.begin()
        play = _speak if options.realtime else _feed
        play(engine, frames(recording.samples), timeline.take)
        engine.send(EndSpeech())
        timeline.end()
        events = timeline.events(engine, engine.send(reply_of(options)))
        done = print_json(events, timeline.figures) if options.json else print_text(events)
    timeline.say(f"end of the answer ({done.reason})")
    if options.trace is not None:
        timeline.trace.save(Path(options.trace))


def prepare(engine: "Port", options: argparse.Namespace, take: "Callable[[Report], None]") -> None:
    """Load the model, and have it read what stands before the sound."""
    from ..runtime.commands import AddImage, AddText, Load, Settings
    from ..runtime.reports import Idle

    if options.model is None:
        tell("No --model given: this is the tiny demonstration model, not Gemma.")
    settings = Settings(options.system, options.image_tokens, options.hearing)
    wanted: list[Command] = [Load(options.model or catalog.DEMONSTRATION, settings)]
    wanted += map(AddImage, options.image)
    if options.question:
        wanted.append(AddText(options.question))
    for one in wanted:
        for report in engine.until(engine.send(one)):
            take(report)
    for report in engine:
        take(report)
        if isinstance(report.event, Idle):
            return


def reply_of(options: argparse.Namespace) -> "Reply":
    """The reply that the options ask for."""
    from ..runtime.commands import Reply

    return Reply(options.max_tokens, options.temperature, seed=options.seed, heard=options.heard)


def remark(event: "Event | EngineEvent") -> None:
    """Say what the user may want to know of an event beside the answer."""
    from ..runtime.notices import sentence
    from ..runtime.reports import FellBehind, ImageAdded, Noted

    if isinstance(event, ImageAdded):
        for note in event.notes:
            tell(note)
    elif isinstance(event, Noted | FellBehind):  # what belongs to a reply is told with it
        tell(sentence(event))


def _speak(engine: "Port", sound: "Samples", take: "Callable[[Report], None]") -> None:
    """Give each frame when its time has come."""
    from ..runtime.commands import Hear
    from ..runtime.pace import FRAME_SECONDS

    began = time.perf_counter()
    for number in range(len(sound)):
        due = began + (number + 1) * FRAME_SECONDS
        while (left := due - time.perf_counter()) > 0:
            if (report := engine.read(left)) is not None:
                take(report)
        engine.send(Hear(sound[number : number + 1]))


def _feed(engine: "Port", sound: "Samples", take: "Callable[[Report], None]") -> None:
    """Give each chunk when the one before was heard, or when its time has come."""
    from ..runtime.commands import Hear
    from ..runtime.pace import FRAME_SECONDS, SHORTEST
    from ..runtime.reports import Hearing

    for start in range(0, len(sound), SHORTEST):
        chunk = sound[start : start + SHORTEST]
        engine.send(Hear(chunk))
        due = time.perf_counter() + SHORTEST * FRAME_SECONDS
        heard = len(chunk) < SHORTEST  # it is read with the question
        while not heard and (left := due - time.perf_counter()) > 0:
            if (report := engine.read(left)) is not None:
                take(report)
                heard = isinstance(report.event, Hearing)


class _Timeline:
    """Tells on stderr what happens when, and keeps it as a trace."""

    def __init__(self) -> None:
        from ..runtime.trace import Trace

        self.trace = Trace()
        self.figures: dict[str, Any] = {"chunks": []}
        self._began = self._ended = time.perf_counter()

    def begin(self) -> None:
        """Say that somebody begins to speak."""
        self._began = time.perf_counter()
        self.say("speech begins")

    def end(self) -> None:
        """Say that nobody speaks any more."""
        self._ended = time.perf_counter()
        self.figures["seconds_of_speech"] = self._ended - self._began
        self.trace.span("speech", "speech", self._began, self._ended)
        self.say("end of speech")

    def say(self, text: str, at: float | None = None) -> None:
        """Say what happens, at a time or now."""
        tell(f"{(at or time.perf_counter()) - self._began:7.2f} s  {text}")

    def take(self, report: "Report") -> None:
        """Tell a report."""
        from ..runtime.pace import FRAME_SECONDS, SHORTEST
        from ..runtime.reports import Failed, Hearing

        event = report.event
        if isinstance(event, Failed):
            raise event.error()
        self.trace.add(report)
        remark(event)
        if isinstance(event, Hearing) and event.frames:
            late = event.backlog >= SHORTEST * FRAME_SECONDS
            behind = f", {event.backlog:.2f} s behind" if late else ""
            took = f"{event.frames} frames in {1000 * event.took:.0f} ms"
            self.say(f"heard {event.heard:.2f} s: {took}{behind}", report.time)
            chunk = {"frames": event.frames, "seconds": event.took, "backlog": event.backlog}
            self.figures["chunks"].append(chunk)

    def events(self, engine: "Port", number: int) -> "Iterator[Event]":
        """Read reports until a reply is done; give its events."""
        from ..events import Event, Token

        for report in engine.until(number):
            self.take(report)
            if isinstance(report.event, Token) and "seconds_after_speech" not in self.figures:
                after = report.time - self._ended
                self.figures["seconds_after_speech"] = after
                self.say(f"first token, {after:.3f} s after the end of speech", report.time)
            if isinstance(report.event, Event):
                yield report.event
