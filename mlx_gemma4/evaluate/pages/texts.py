"""Real text that every Python brings: its reference, and its own programs (PSF licence)."""

import random
import re
import textwrap
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import Gemma4Error

_MODULES = (
    "bisect", "calendar", "cmd", "code", "fnmatch", "heapq", "pprint", "queue", "sched", "shlex",
    "statistics", "string", "textwrap", "timeit", "tokenize", "zipapp",
)  # fmt: skip
_MARKS = re.compile(r"\*+|``?|\"(?=\S)|(?<=\S)\"")
_WIDEST = 84  # columns of a line of a program


@cache
def topics() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Topics of the language reference: the name that `pydoc` knows each by, its paragraphs."""
    try:
        from pydoc_data.topics import topics as found
    except ImportError as error:
        raise Gemma4Error(
            "text_missing",
            "There is no text to make pages of",
            "This Python came without pydoc_data, the language reference.",
            "Install Python's full standard library, or ask with --sets tiny.",
        ) from error
    kept = [(name.lower(), _paragraphs(found[name])) for name in sorted(found)]
    return tuple((name, paragraphs) for name, paragraphs in kept if len(paragraphs) >= 3)


@cache
def programs() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Programs of the standard library: file name, lines."""
    origins = [spec.origin for name in _MODULES if (spec := find_spec(name)) and spec.origin]
    files = [Path(origin) for origin in origins if origin.endswith(".py")]
    return tuple((file.name, tuple(file.read_text("utf-8").splitlines())) for file in files)


def passage(rng: random.Random, most: int) -> tuple[str, list[str]]:
    """A topic's name, and paragraphs that follow one another: up to `most` characters."""
    name, paragraphs = rng.choice(topics())
    start = rng.randrange(len(paragraphs))
    taken: list[str] = []
    for paragraph in (*paragraphs[start:], *paragraphs[:start]):
        room = most - sum(map(len, taken))
        if taken and len(paragraph) > room:
            break
        taken.append(textwrap.shorten(paragraph, most, placeholder=""))
    return name, taken


def program(rng: random.Random, most: int) -> tuple[str, list[str]]:
    """A file's name, and lines of it that follow one another: up to `most` characters."""
    name, lines = rng.choice(programs())
    starts = [n for n, line in enumerate(lines) if re.match(r" *(def|class) ", line)]
    start = rng.choice(starts)
    taken: list[str] = []
    for line in lines[start:]:
        if sum(map(len, taken)) + len(line.strip()) > most or not line.isascii():
            break
        if len(line) <= _WIDEST:
            taken.append(line)
    return name, textwrap.dedent("\n".join(taken)).strip("\n").splitlines()


def _paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of prose in a reStructuredText text, without its marks."""
    blocks = [block for block in text.split("\n\n") if block.isascii()]
    prose = [b for b in blocks if not re.search(r"^[ *+|.\-\[]|::=|^[*=\-~^\"]+$", b, re.M)]
    joined = [_MARKS.sub("", " ".join(block.split())) for block in prose]
    return tuple(p for p in joined if 60 <= len(p) <= 600 and p.endswith("."))
