"""The command line: `gemma4 ask`, and the commands of `cli_models.py`.

The answer goes to stdout, everything else to stderr. Nothing heavy is imported until it is needed:
`gemma4 --help` starts no MLX, and an answer needs neither torch nor transformers.
"""

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__, catalog, cli_models
from .errors import Gemma4Error
from .options import Option

if TYPE_CHECKING:
    from .events import Done, Event
    from .model import Gemma4
    from .session import Session

STATS = (
    "prompt_tokens",
    "reply_tokens",
    "seconds_to_first_token",
    "prompt_tokens_per_second",
    "tokens_per_second",
)
LONG_PROMPT = 1024  # tokens from which on a terminal shows how much of the prompt is read


OPTIONS = (
    Option("--image", "pictures to look at", "FILE", many=True),
    Option("--audio", "sounds to listen to, each of at most 30 seconds", "FILE", many=True),
    Option("--video", "a video to watch: up to 32 of its frames (needs the extra 'video')", "FILE"),
    Option(
        "--model",
        "a model's folder, or a name of Package.toml; without it the tiny demonstration model",
        "NAME|FOLDER",
    ),
    Option(
        "--image-tokens",
        "the most tokens a picture may take: 70, 140, 280, 560 or 1120; more show finer print",
        "N",
        int,
        (70, 140, 280, 560, 1120),
    ),
    Option("--max-tokens", "the most tokens to answer (1024)", "N", int, default=1024),
    Option("--temperature", "0 for the likeliest answer, 1 for more variety", "T", float),
    Option("--seed", "the same seed gives the same answer", "N", int),
    Option("--system", "an instruction that stands before the question", "TEXT"),
    Option("--think", "let the model think first; its thought goes to stderr"),
    Option("--split-audio", "hear a longer sound as several clips"),
    Option("--json", "print one JSON object: answer, thought, tool calls, counts and speeds"),
    Option("--stats", "say counts and speeds on stderr"),
    Option("--debug", "show where an error came from"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0, 2 after an error, 130 after Ctrl-C, 141 where stdout was closed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _note("")
        return 130
    except BrokenPipeError:
        # the reader has gone; without this Python would complain when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _print_error(error)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Gemma4Error(
            "The command is not understood", f"{message}.", f"See {self.prog} --help."
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("gemma4", description="Gemma 4 on MLX: text, pictures and sound.")
    parser.add_argument("--version", action="version", version=f"gemma4 {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    about = "Ask a question about text, pictures, sounds or a video. The answer goes to stdout."
    ask = commands.add_parser("ask", help="ask a question", description=about, allow_abbrev=False)
    ask.add_argument(
        "question",
        nargs="?",
        metavar="QUESTION",
        help="what to ask; - or none reads it from stdin; a sound may ask instead",
    )
    for option in OPTIONS:
        option.add_to(ask)
    ask.set_defaults(run=_ask)
    cli_models.add(commands)
    return parser


def _ask(options: argparse.Namespace) -> None:
    question = _question(options)
    if options.model is None:
        _note("No --model given: this is the tiny demonstration model, not Gemma.")
    model = _load(options.model or catalog.DEMONSTRATION)
    events = _session(model, question, options).reply(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=options.seed,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    done = _print_json(events) if options.json else _print_text(events)
    if done.reason == "length":
        _note(f"The answer was stopped at {options.max_tokens} tokens (--max-tokens).")
    elif done.reason == "context":
        _note("The answer was stopped: the model's context is full.")
    if options.stats:
        _note(_stats_line(done))


def _question(options: argparse.Namespace) -> str:
    """Give the question, from the command or from stdin; nothing where a sound asks."""
    text: str = options.question or ""
    try:
        piped = options.question is None and not options.audio and not sys.stdin.isatty()
        if piped or text == "-":
            text = sys.stdin.read()
        text.encode()
    except UnicodeError as error:
        raise Gemma4Error(
            "The question is not text", "It holds bytes that are not UTF-8.", "Save it as UTF-8."
        ) from error
    if not text.strip() and not options.audio:
        raise Gemma4Error(
            "There is no question",
            "Neither the command nor stdin has one, and no sound asks it.",
            'Put it before the options: gemma4 ask "what is this?" --image FILE.',
        )
    return text


def _load(name: str) -> "Gemma4":
    from . import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        model = load(name)
    for warning in caught:
        _note(str(warning.message))
    return model


def _session(model: "Gemma4", question: str, options: argparse.Namespace) -> "Session":
    from .session import Session
    from .sound import RATE, read_sound

    session = Session(model, options.system, options.image_tokens, thinking=options.think)
    for path in options.image:
        for note in session.add_image(path).notes:
            _note(f"{path}: {note}")
    for path in options.audio:
        recording = read_sound(path)
        for note in recording.notes:
            _note(note)
        session.add_audio(recording.samples, RATE, "split" if options.split_audio else "refuse")
    if options.video is not None:
        session.add_video(options.video)
    if question.strip():
        session.add_text(question)
    return session


def _print_text(events: "Iterator[Event]") -> "Done":
    """Stream the answer to stdout, and thoughts and calls to stderr."""
    from .events import Done, Thought, Token, ToolCall

    answer = thought = ""
    for event in events:
        if isinstance(event, Token):
            if thought and not answer:
                _note("")
            answer += event.text
            print(event.text, end="", flush=True)
        elif isinstance(event, Thought):
            thought += event.text
            print(event.text, end="", file=sys.stderr, flush=True)
        elif isinstance(event, Done):
            print()
            return event
        elif isinstance(event, ToolCall):
            _note(f"The model calls a tool: {event.name} {json.dumps(event.arguments)}")
    raise AssertionError("a reply ends with Done")


def _print_json(events: "Iterator[Event]") -> "Done":
    """Print the whole reply as one JSON object."""
    from .events import Done, Thought, Token, ToolCall

    told = list(events)
    done = told[-1]
    assert isinstance(done, Done), "a reply ends with Done"
    result: dict[str, Any] = {
        "answer": "".join(event.text for event in told if isinstance(event, Token)),
        "thought": "".join(event.text for event in told if isinstance(event, Thought)),
        "tool_calls": [
            {"name": event.name, "arguments": event.arguments}
            for event in told
            if isinstance(event, ToolCall)
        ],
        "reason": done.reason,
        **{name: done.stats.get(name) for name in STATS},
    }
    print(json.dumps(result, ensure_ascii=False))
    return done


def _stats_line(done: "Done") -> str:
    told = [
        f"{name.replace('_', ' ')} {done.stats[name]:.4g}" for name in STATS if name in done.stats
    ]
    return "; ".join(told)


def _show_progress(fed: int, total: int) -> None:
    """Keep one line on the terminal while a long prompt is read; it is gone when that is done."""
    if total >= LONG_PROMPT:
        line = f"Reading the prompt: {fed:,} of {total:,} tokens" if fed < total else ""
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _print_error(error: Exception) -> None:
    if not isinstance(error, Gemma4Error):
        error = Gemma4Error(
            "The program failed",
            f"{type(error).__name__}: {error}",
            "Run it again with --debug, and report what it shows.",
        )
    _note(f"Error: {error.title}\n  Cause: {error.cause}\n  Remedy: {error.remedy}")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
