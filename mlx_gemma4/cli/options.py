"""The options of the command line as data: --help and docs/cli.md are made from them."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error
from ..hub import catalog, disk, installed_adapters
from .streams import inform

_MAY_BE_EMPTY = ("TEXT", "QUESTION")


@dataclass(frozen=True)
class Option:
    """One option of a command, or a positional value; an empty one is an error, but for texts.

    Attributes:
        flag: without hyphens where it is positional.
        metavar: the name of its value; empty where the option takes none.
        many: whether it takes several values and may be repeated.
    """

    flag: str
    help: str | None
    metavar: str = ""
    type: Callable[[str], object] = str
    choices: tuple[object, ...] | None = None
    default: object = None
    many: bool = False
    required: bool = False

    def add_to(self, parser: argparse.ArgumentParser, prefix: str = "") -> None:
        """Declare it; its value gets the name of the flag, behind a prefix."""
        dest = prefix + self.flag.lstrip("-").replace("-", "_")
        if not self.metavar:
            parser.add_argument(self.flag, help=self.help, action="store_true", dest=dest)
            return
        value: dict[str, Any] = {
            "help": self.help,
            "metavar": self.metavar,
            "type": named if self.type is str and self.metavar not in _MAY_BE_EMPTY else self.type,
            "choices": self.choices,
            "default": [] if self.many else self.default,
        }
        if self.is_positional:
            nargs = "*" if self.many else None if self.required else "?"
            parser.add_argument(self.flag, **value, nargs=nargs)
            return
        parser.add_argument(
            self.flag,
            **value,
            nargs="+" if self.many else None,
            action=_Several if self.many else "store",
            required=self.required,
            dest=dest,
        )

    @property
    def is_positional(self) -> bool:
        return not self.flag.startswith("-")


class _Several(argparse.Action):
    """Collects an option's values, and keeps which of them were written together."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = list(values)
        groups = getattr(namespace, "groups", [])
        namespace.groups = [*groups, (self.dest, given)]
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *given])


def named(value: str) -> str:
    """Take a name or path as it is, unless it is empty."""
    if not value.strip():
        raise argparse.ArgumentTypeError("its value is empty")
    return value


def new_folder(value: str) -> str:
    """Take a folder to write; refuse it now, not after the work, where it cannot be written."""
    disk.need_writable(Path(named(value)))
    return value


def new_file(value: str) -> str:
    """As `new_folder`, for a file, also one that is there, or a device."""
    path = Path(named(value))
    with disk.explained():
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{value} is a folder")
        if not path.exists():
            disk.need_writable(path.parent)
        elif not os.access(path, os.W_OK):
            raise argparse.ArgumentTypeError(f"{value} is there, and may not be written")
    return value


def gigabytes(text: str) -> int:
    """Read a Mac's memory, 16GB or 16; raise Gemma4Error where it is neither."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*(GB|GiB|G)?\s*", text, re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise not_understood(f"{text!r} is no size of a memory.", "Write it as 16GB.")
    return int(found[1])


def draft(value: str) -> str | int:
    """Take a way to propose tokens, or how many at a time."""
    if value in ("off", "auto", "lookup"):
        return value
    if value.isdecimal():
        return int(value)
    raise argparse.ArgumentTypeError(f"{value!r} is neither off, auto, lookup nor a number")


def swallowed(options: argparse.Namespace, fits: Callable[[str], bool]) -> str | None:
    """Take back a positional value that an option with several values has taken as its last one.

    For argparse `--image a.png "what is this?"` are two pictures. An option's first value is always
    its own.

    Args:
        fits: whether a value may be the positional one.
    """
    for name, given in getattr(options, "groups", ()):
        if len(given) > 1 and fits(given[-1]):
            value: str = given.pop()
            kept = [one for dest, values in options.groups if dest == name for one in values]
            setattr(options, name, kept)
            return value
    return None


def flag(name: str) -> str:
    """The flag of an attribute: --last-layers of last_layers."""
    return f"--{name.replace('_', '-')}"


def out_of_range(name: str, value: object, allowed: str) -> Gemma4Error:
    """The error of an option's number; `allowed` follows "Choose"."""
    title, cause = f"{flag(name)} is out of range", f"It is {value}."
    return Gemma4Error("setting_out_of_range", title, cause, f"Choose {allowed}.")


def not_understood(cause: str, remedy: str) -> Gemma4Error:
    """The error of options that do not go together, or of one that is missing."""
    return Gemma4Error("usage", "The command is not understood", cause, remedy)


def model_of(options: argparse.Namespace) -> str:
    """Return the chosen model, else the usual one; where that is the tiny one, inform the user."""
    chosen: str = options.model or catalog.default()
    if options.model is None and chosen == catalog.DEMONSTRATION:
        inform("No --model given: this is the tiny demonstration model, not Gemma.")
    return f"{chosen}:{options.adapter}" if getattr(options, "adapter", None) else chosen


def without_adapter(name: str) -> str:
    """Return a model's name; raise Gemma4Error where it is MODEL:ADAPTER."""
    if installed_adapters.split(name)[1] is not None:
        raise not_understood(f"{name} is a model with an adapter.", "Name the model alone.")
    return name


# shared by several commands
IMAGE = Option("--image", "pictures to look at", "FILE", many=True)
MODEL = Option(
    "--model",
    "a model's folder or name; without it what `gemma4 get` brought, else the tiny "
    "demonstration model",
    "NAME|FOLDER",
)
ADAPTER = Option(
    "--adapter",
    "what `gemma4 tune` has made: its folder, or the name that it is installed under; also "
    "--model MODEL:ADAPTER",
    "NAME|FOLDER",
)
IMAGE_TOKENS = Option(
    "--image-tokens",
    "the most tokens a picture may take: 70, 140, 280, 560 or 1120; more show finer print",
    "N",
    int,
    (70, 140, 280, 560, 1120),
)
MAX_TOKENS = Option("--max-tokens", "the most tokens to answer (1024)", "N", int, default=1024)
TEMPERATURE = Option("--temperature", "0 for the likeliest answer, 1 for more variety", "T", float)
SEED = Option("--seed", "with the same seed the answer is the same", "N", int)
SYSTEM = Option("--system", "an instruction before the question", "TEXT")
DRAFTER = Option(
    "--drafter",
    "the folder or name of a drafter, which proposes tokens; answers stay the same",
    "NAME|FOLDER",
)
DRAFT = Option(
    "--draft",
    "how tokens are proposed: off; auto, as far as it pays (with the model's drafter where "
    "`gemma4 bench --draft` found so); lookup, without a drafter; or so many at a time (auto)",
    "HOW",
    draft,
    default="auto",
)
ANSWER = (MODEL, ADAPTER, IMAGE_TOKENS, MAX_TOKENS, TEMPERATURE, SEED, SYSTEM, DRAFTER, DRAFT)
JSON = Option("--json", "print one JSON object: answer, thought, tool calls, counts and speeds")
FORCE = Option("--force", "load the model even if it does not fit into the memory")
DEBUG = Option("--debug", "show where an error came from")


@dataclass(frozen=True)
class Subcommand:
    """A command.

    Attributes:
        brief: what it does, in the list of commands.
        about: the same above its options.
        options: its own; each command has DEBUG too.
        run: does it; returns the exit status, None for 0.
        inner: a command of it, as `gemma4 models remove`.
    """

    name: str
    brief: str
    about: str
    options: tuple[Option, ...]
    run: Callable[[argparse.Namespace], int | None]
    inner: "Subcommand | None" = None

    def add_to(self, commands: "argparse._SubParsersAction[Any]") -> None:
        parser = commands.add_parser(
            self.name, help=self.brief, description=self.about, allow_abbrev=False
        )
        for option in (*self.options, DEBUG):
            option.add_to(parser)
        parser.set_defaults(run=self.run)
        if self.inner is not None:
            self.inner.add_to(parser.add_subparsers(metavar=self.inner.name))
