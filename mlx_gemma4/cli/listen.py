"""`gemma4 listen`: talk to the model through the microphone.

The answers go to stdout, everything else to stderr.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

from . import options as shared
from .answer import Printer, tell
from .live import HEARD, HEARING, QUESTION, prepare, remark, reply_of
from .options import Option, command

if TYPE_CHECKING:
    from ..media.audio import Samples
    from ..runtime.client import Port
    from ..runtime.reports import Report

OPTIONS = (
    Option("--device", "a part of the microphone's name (the system's default)", "NAME"),
    shared.IMAGE,
    QUESTION,
    HEARING,
    HEARD,
    *shared.ANSWER,
    shared.DEBUG,
)

WAIT = 0.04  # seconds for the next frame: as long as one lasts
SILENT_AFTER = 1.0  # seconds of exact zeros until that is told; some devices begin with them


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    command(
        commands,
        "listen",
        "talk to the model",
        "Listen to the microphone, and answer whenever somebody has spoken. Speaking stops an "
        "answer; Ctrl-C ends. Pictures and words that are given here belong to what is said first.",
        OPTIONS,
        _listen,
    )


def _listen(options: argparse.Namespace) -> None:
    from ..capture.microphone import Microphone, silent
    from ..capture.speechgate import SpeechGate
    from ..runtime.worker import Engine

    with Microphone(options.device) as microphone, Engine() as engine:
        conversation = _Conversation(engine, options)
        prepare(engine, options, conversation.take)
        gate = SpeechGate()
        microphone.read(0)  # what was said while the model was loaded was not for it
        tell(f"Listening to {microphone.name}. Ctrl-C ends.")
        warned = False
        try:
            while True:
                for speech in gate.add(microphone.read(WAIT)):
                    conversation.hear(speech)
                while (report := engine.read(0)) is not None:
                    conversation.take(report)
                is_silent = microphone.silent_seconds > SILENT_AFTER
                if is_silent and not warned:
                    problem = silent(microphone.name)
                    tell(f"{problem.title}. {problem.cause} {problem.remedy}")
                warned = is_silent
        except KeyboardInterrupt:
            tell("")


class _Conversation:
    """Turns from the microphone: what is spoken goes in, and answers are printed."""

    def __init__(self, engine: "Port", options: argparse.Namespace) -> None:
        self._engine = engine
        self._ask = reply_of(options)
        self._printer = Printer()
        self._reply: int | None = None  # the reply that is not finished
        self._stopped = False
        self._ended = 0.0
        self._first: float | None = None  # seconds from the end of speech to the first token

    def hear(self, speech: "Samples | None") -> None:
        """Take what somebody says; None where it ends."""
        from ..runtime.commands import EndSpeech, Hear, Stop

        if speech is None:
            self._engine.send(EndSpeech())
            self._ended, self._first, self._stopped = time.perf_counter(), None, False
            self._reply = self._engine.send(self._ask)
            return
        if self._reply is not None and not self._stopped:
            self._engine.send(Stop())
            self._stopped = True
        self._engine.send(Hear(speech))

    def take(self, report: "Report") -> None:
        """Print what is told."""
        from ..events import Done, Event, Token
        from ..runtime.reports import Failed, Finished

        event = report.event
        remark(event)
        if isinstance(event, Failed):
            if report.command is None:
                raise event.error()
            tell(f"{event.title}. {event.cause} {event.remedy}")
        if isinstance(event, Failed | Finished) and report.command == self._reply:
            self._reply = None
        if isinstance(event, Event):
            self._printer.show(event)
        if isinstance(event, Token) and self._first is None:
            self._first = report.time - self._ended
        if isinstance(event, Done) and self._first is not None:
            tell(f"[{self._first:.2f} s after the end of speech]")
