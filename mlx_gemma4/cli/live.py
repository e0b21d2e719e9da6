"""`gemma4 live`: plays a sound file as if it were spoken, and shows how it is heard.

The answer goes to stdout, the timeline and everything else to stderr.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import options as shared
from . import screenshot
from .answer import inform, print_json, print_text
from .options import Option, Subcommand

if TYPE_CHECKING:
    from ..runtime.client import Client
    from ..runtime.commands import Command, Reply
    from ..runtime.reports import Report

QUESTION = Option("--question", "text that belongs to what is spoken", "TEXT")
HEARING = Option(
    "--hearing",
    "direct: the sound is in the conversation; relay: it is transcribed first, and the transcript "
    "is; auto: what the model understands better (auto)",
    "HOW",
    choices=("auto", "direct", "relay"),
    default="auto",
)
HEARD = Option("--heard", "print what was understood, too")
OPTIONS = (
    Option("--audio", "the sound to play", "FILE", required=True),
    shared.IMAGE,
    screenshot.OPTION,
    QUESTION,
    Option("--realtime", "play it as fast as it was spoken, not as fast as it is heard"),
    Option("--gate", "pass on speech only, and answer after the first pause, as listen does"),
    Option("--trace", "write a Chrome trace, for ui.perfetto.dev", "FILE", shared.new_file),
    HEARING,
    HEARD,
    *shared.ANSWER,
    shared.JSON,
)


def _live(options: argparse.Namespace) -> None:
    from ..capture.speechgate import SpeechGate
    from ..media.audio import frames, read_sound
    from ..runtime.live import EverythingGate, Live
    from ..runtime.worker import Worker
    from .timeline import Player, Timeline

    recording = read_sound(options.audio)
    for note in recording.notes:
        inform(note)
    with Worker() as worker:
        timeline = Timeline(worker, reply_of(options))
        prepare(worker, options, timeline.take)
        player = Player(frames(recording.samples), options.realtime)
        timeline.heard_more = player.go_on
        gate = SpeechGate if options.gate else EverythingGate
        live = Live(worker, lambda: player, gate, timeline)
        events = timeline.events(live)
        done = print_json(events, timeline.figures) if options.json else print_text(events)
        live.close()
    timeline.line(f"end of the answer ({done.reason})")
    if options.trace is not None:
        timeline.trace.save(Path(options.trace))


def prepare(
    client: "Client", options: argparse.Namespace, take: "Callable[[Report], None]"
) -> None:
    """Load the model, and have it read what comes before the sound."""
    from ..runtime.commands import AddImage, AddText, Load, Open, SessionSettings
    from ..runtime.reports import Idle

    model = shared.model_of(options)
    seen = screenshot.pictures(options, model)
    settings = SessionSettings(options.system, options.image_tokens, options.hearing)
    load = Load(model, drafter=options.drafter, draft=options.draft)
    wanted: list[Command] = [load, Open(settings=settings)]
    wanted += map(AddImage, options.image)
    wanted += (AddImage(image, tokens) for image, tokens in seen)
    if options.question:
        wanted.append(AddText(options.question))
    for one in wanted:
        for report in client.until(client.send(one)):
            take(report)
    for report in client:
        take(report)
        if isinstance(report.event, Idle):
            return


def reply_of(options: argparse.Namespace) -> "Reply":
    from ..runtime.commands import Reply

    return Reply(options.max_tokens, options.temperature, seed=options.seed, heard=options.heard)


COMMAND = Subcommand(
    "live",
    "play a sound as if it were spoken, and show how it is heard",
    "Play a sound file as if it were spoken, and answer it. The timeline goes to stderr: what "
    "was heard when, the end of speech, and how long after it the answer started.",
    OPTIONS,
    _live,
)
