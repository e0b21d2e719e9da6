"""`gemma4 listen`: talk to the model through the microphone.

The answers go to stdout, everything else to stderr.
"""

import argparse

from . import options as shared
from . import screenshot
from .answer import inform
from .live import HEARD, HEARING, QUESTION, prepare, reply_of
from .options import Option, Subcommand

OPTIONS = (
    Option("--device", "a part of the microphone's name (the system's default)", "NAME"),
    shared.IMAGE,
    screenshot.OPTION,
    QUESTION,
    HEARING,
    HEARD,
    *shared.ANSWER,
)


def _listen(options: argparse.Namespace) -> None:
    from ..capture.microphone import Microphone
    from ..capture.speechgate import SpeechGate
    from ..runtime.live import Live
    from ..runtime.worker import Worker
    from .talk import Talk

    with Microphone(options.device) as microphone, Worker() as worker:
        talk = Talk(worker, reply_of(options))
        prepare(worker, options, talk.take)
        microphone.read(0)  # what was said while the model was loaded was not for it
        inform(f"Listening to {microphone.name}. Ctrl-C ends.")
        live = Live(worker, lambda: microphone, SpeechGate, talk)
        try:
            while talk.failed is None:
                if (report := worker.read(0.1)) is not None:
                    talk.take(report)
        except KeyboardInterrupt:
            inform("")
        live.close()
    if talk.failed is not None:
        raise talk.failed.error()


COMMAND = Subcommand(
    "listen",
    "talk to the model",
    "Listen to the microphone, and answer whenever somebody has spoken. Speaking cancels an "
    "answer; Ctrl-C ends. Pictures and text that are given here belong to what is spoken "
    "first.",
    OPTIONS,
    _listen,
)
