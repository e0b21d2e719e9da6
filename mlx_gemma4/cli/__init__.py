"""The command line: `gemma4 ask`, and the commands of the other files here.

The answer goes to stdout, everything else to stderr. Nothing heavy is imported until it is needed:
`gemma4 --help` starts no MLX, and an answer needs neither torch nor transformers.
"""

import argparse
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import Gemma4Error, counted
from . import (
    bench,
    evaluate,
    fit,
    get,
    hosting,
    listen,
    live,
    manage,
    models,
    screenshot,
    serve,
    streams,
    tools,
    tune,
)
from . import options as shared
from .answer import print_json, print_text, stats_line
from .options import Option, Subcommand, named, not_understood, swallowed
from .program import open_program
from .selftest.command import COMMAND as SELFTEST
from .streams import CLEAR, inform

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..model.gemma4 import Gemma4
    from ..session.session import Session

LONG_PROMPT = 1024  # tokens; from here on a terminal shows how much of the prompt is read

OPTIONS = (
    Option(
        "question",
        "what to ask; - or none reads it from stdin; a sound may ask instead",
        "QUESTION",
    ),
    shared.IMAGE,
    screenshot.OPTION,
    Option("--audio", "sounds to listen to, each of at most 30 seconds", "FILE", many=True),
    Option("--video", "a video to watch: up to 32 of its frames (needs the extra 'video')", "FILE"),
    *shared.ANSWER,
    Option("--think", "let the model think first; its thought goes to stderr"),
    Option("--split-audio", "hear a longer sound as several clips"),
    tools.OPTION,
    tools.SCHEMA,
    shared.JSON,
    Option("--stats", "print counts and speeds on stderr"),
    *hosting.OPTIONS,
    shared.FORCE,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0, 1 where `doctor` found a problem, 2 after an error, 130 after Ctrl-C,
        141 where stdout was closed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--debug" not in arguments:  # an error is printed once; where a log is kept, it has the rest
        for name in ("mlx_gemma4", "app", "gemma4_app"):
            logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        streams.prepare()
        try:
            options = _parser().parse_args(arguments)
        except SystemExit:  # the help or the version is printed
            streams.finish()
            raise
        if options.run is None:
            return open_program(options.open, options.plain, hosting.of_program(options))
        if options.open or options.plain or hosting.of_program(options):
            raise not_understood(
                "--model, --plain and --hosts before a command are for the terminal program alone.",
                "Write them behind the command.",
            )
        status: int = options.run(options) or 0
        streams.finish()
    except KeyboardInterrupt as error:
        inform("")
        hosting.leave(error, 130, arguments)
        return 130
    except BrokenPipeError:
        streams.silence(1)  # or Python would complain at its exit
        return 141
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _print_error(error)
        hosting.leave(error, 2, arguments)
        return 2
    return status


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: object = None) -> None:
        streams.put(message, end="")  # argparse itself would not notice that nothing was written

    def error(self, message: str) -> NoReturn:
        raise not_understood(f"{message}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "gemma4",
        description="`gemma4` alone opens the program in which you talk to the model and show it "
        "pictures. `gemma4 get` brings Gemma 4 12B in the form that suits this computer; the "
        "other commands do one thing each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gemma4 {__version__}")
    parser.add_argument(
        "--model", dest="open", metavar="NAME|FOLDER", type=named, help="open it with this model"
    )
    parser.add_argument(
        "--plain", action="store_true", help="open it line by line, as a screen reader wants it"
    )
    hosting.add_to_program(parser)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _ask(options: argparse.Namespace) -> None:
    if options.question is None:
        options.question = swallowed(options, lambda value: not _is_file(value))
    question = _question(options)
    declared = tools.read(options.tools)
    schema = tools.read_schema(options.schema)
    name = shared.model_of(options)
    seen = screenshot.pictures(options, name)
    from ..runtime.loading import load_noted

    hosts = hosting.chosen(options)
    show = hosting.sending() if hosts else lambda host, done, total: None
    model, notes = load_noted(
        name, options.force, hosts, show, drafter=options.drafter, draft=options.draft
    )
    for note in notes:
        inform(note)
    events = _session(model, question, declared, seen, options).reply(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=options.seed,
        progress=_show_progress if sys.stderr.isatty() else None,
        grammar=schema,
    )
    done = print_json(events) if options.json else print_text(events)
    if done.reason == "length":
        inform(f"The answer was stopped at {counted(options.max_tokens, 'token')} (--max-tokens).")
    elif done.reason == "context":
        inform("The answer was stopped: the model's context is full.")
    if options.stats:
        inform(stats_line(done))


def _is_file(value: str) -> bool:
    """Whether a value is a file, or is written as the path of one: a word with / or an ending.

    A file whose name is misspelt is an error, and never becomes the question.
    """
    is_file = os.path.isfile(value)  # noqa: PTH113 - for pathlib, a name too long is an error
    return is_file or re.fullmatch(r"\S*(/\S*|\.\w+)", value) is not None


def _question(options: argparse.Namespace) -> str:
    """Return the question, from the command or from stdin; empty where a sound asks it."""
    text: str = options.question or ""
    try:
        piped = options.question is None and not options.audio and not sys.stdin.isatty()
        if piped or text == "-":
            text = sys.stdin.read()
        text.encode()
    except UnicodeError as error:
        raise Gemma4Error(
            "question_not_text",
            "The question is not text",
            "It holds bytes that are not UTF-8.",
            "Save it as UTF-8.",
        ) from error
    except OSError as error:
        raise Gemma4Error(
            "question_unreadable",
            "The question cannot be read",
            f"Standard input: {error.strerror}.",
            'Write it into the command: gemma4 ask "what is this?" --image FILE.',
        ) from error
    if not text.strip() and not options.audio:
        raise Gemma4Error(
            "question_missing",
            "There is no question",
            "Neither the command nor stdin has one, and no sound asks it.",
            'Write one: gemma4 ask "what is this?" --image FILE.',
        )
    return text


def _session(
    model: "Gemma4",
    question: str,
    declared: tools.Tools,
    seen: "list[tuple[Image, int]]",
    options: argparse.Namespace,
) -> "Session":
    from ..session.session import Session

    session = Session(
        model,
        options.system,
        tools=declared,
        image_tokens=options.image_tokens,
        thinking=options.think,
    )
    for path in options.image:
        for note in session.add_image(path).notes:
            inform(f"{path}: {note}")
    for image, tokens in seen:
        session.add_image(image, tokens)
    for path in options.audio:
        for note in session.add_audio(path, long="split" if options.split_audio else "refuse"):
            inform(note)
    if options.video is not None:
        for note in session.add_video(options.video):
            inform(f"{options.video}: {note}")
    if question.strip():
        session.add_text(question)
    return session


def _show_progress(fed: int, total: int) -> None:
    """Show a line on the terminal while a long prompt is read, and clear it at the end."""
    if total >= LONG_PROMPT:
        line = f"Reading the prompt: {fed:,} of {total:,} tokens" if fed < total else ""
        inform(line, end="", start=CLEAR)


def _print_error(error: Exception) -> None:
    if not isinstance(error, Gemma4Error):
        error = Gemma4Error(
            "internal_error",
            "The program failed",
            f"{type(error).__name__}: {error}",
            "Run it again with --debug, and report what it shows.",
        )
    inform(f"Error: {error.title}\n  Cause: {error.cause}\n  Remedy: {error.remedy}")


ASK = Subcommand(
    "ask",
    "ask a question",
    "Ask a question about text, pictures, sounds or a video. The answer goes to stdout.",
    OPTIONS,
    _ask,
)
COMMANDS = (
    ASK,
    live.COMMAND,
    listen.COMMAND,
    get.COMMAND,
    manage.COMMAND,
    serve.COMMAND,
    models.CONVERT,
    models.VERIFY,
    fit.FIT,
    fit.DOCTOR,
    tune.COMMAND,
    evaluate.COMMAND,
    bench.COMMAND,
    SELFTEST,
    hosting.WORKER,
)
