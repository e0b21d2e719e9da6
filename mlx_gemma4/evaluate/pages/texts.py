"""Pages of real text that every Python brings: its reference, and its own programs (PSF licence).

They are set in columns of running text, or are screens with small print: a terminal, an editor, a
page of the web; light and dark.
"""

import keyword
import random
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

from ...errors import Gemma4Error
from ..question import Facts
from .page import Colour, Face, Page, choose, size, transcribe, wrap, write

_MODULES = (
    "bisect", "calendar", "cmd", "code", "fnmatch", "heapq", "pprint", "queue", "sched", "shlex",
    "statistics", "string", "textwrap", "timeit", "tokenize", "zipapp",
)  # fmt: skip
_MARKS = re.compile(r"\*+|``?|\"(?=\S)|(?<=\S)\"")
_WIDEST = 84  # columns of a line of a program
_COLUMNS = 900  # characters: what a page of 70 tokens can still hold, and an answer cost
_SHEETS = ((816, 1056), (1056, 816))  # pixels: a letter sheet at 96 an inch
_SHEET_THEMES: dict[str, tuple[Colour, Colour]] = {
    "black on white": ((0, 0, 0), (255, 255, 255)),
    "sepia": ((67, 52, 34), (244, 236, 216)),
    "grey on white": ((85, 85, 85), (255, 255, 255)),
    "light on dark": ((222, 222, 222), (30, 30, 34)),
}
_SHOWN = 700  # characters
_SIZES = ((1512, 982), (1280, 800), (1024, 640))  # pixels: a laptop, and windows on it
_BAR = 34  # pixels: the strip above a window's content
_Colours = tuple[Colour, ...]  # ink, paper, bar, and three of words that are marked
_THEMES: dict[str, _Colours] = {
    "light": (
        (36, 41, 47), (255, 255, 255), (234, 237, 240), (171, 39, 52), (17, 99, 41), (5, 80, 174),
    ),
    "dark": (
        (212, 212, 212), (30, 30, 30), (52, 52, 54), (197, 134, 192), (181, 206, 168),
        (110, 170, 240),
    ),
}  # fmt: skip
_WORD = re.compile(r"(?P<note>#.*)|(?P<string>\"[^\"]*\"|'[^']*')|(?P<word>\w+)|(?P<other>\S)")


def reference() -> Mapping[str, str]:
    """The language reference by topic, 700,000 characters; Gemma4Error where Python lacks it."""
    try:
        from pydoc_data import topics
    except ImportError as error:
        raise Gemma4Error(
            "text_missing",
            "There is no text to ask about",
            "This Python came without pydoc_data, the language reference.",
            "Install Python's full standard library, or choose other --sets.",
        ) from error
    return {name: topics.topics[name] for name in sorted(topics.topics)}


@cache
def topics() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Topics of the language reference: the name that `pydoc` knows each by, its paragraphs."""
    kept = [(name.lower(), _paragraphs(text)) for name, text in reference().items()]
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
    taken: list[str] = []
    for line in lines[rng.choice(starts) :]:
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


def columns(seed: int, number: int) -> Sequence[Page]:
    """One page of two or three columns under a heading."""
    rng = random.Random(f"columns {seed} {number}")
    name, paragraphs = passage(rng, _COLUMNS)
    face, em = choose(rng, "serif", "sans"), size(rng, 9, 24)
    font, title = face.at(em), face.at(round(em * 1.7))
    theme = rng.choice(list(_SHEET_THEMES))
    ink, paper = _SHEET_THEMES[theme]
    width, height = rng.choice(_SHEETS)
    count = rng.choice((2, 3))
    margin, gap, pitch = rng.randint(36, 72), 2 * em, round(em * rng.uniform(1.2, 1.5))
    column = (width - 2 * margin - (count - 1) * gap) / count
    lines = [line for paragraph in paragraphs for line in wrap(paragraph, font, column)]
    image = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(image)
    heading = name.capitalize()
    top = write(pen, [heading], (margin, margin), title, round(em * 2.6), ink)
    rows = -(-len(lines) // count)  # columns of the same height, the last may be shorter
    for number_ in range(count):
        left = margin + number_ * (column + gap)
        write(pen, lines[number_ * rows : (number_ + 1) * rows], (left, top), font, pitch, ink)
    facts: Facts = {"font": face.name, "size": em, "theme": theme, "columns": count}
    return [Page(image, (transcribe([heading, *lines]),), face.x_height * em, "page", facts)]


def screens(seed: int, number: int) -> Sequence[Page]:
    """One screen, asked for all its text; the kinds take turns."""
    rng = random.Random(f"screens {seed} {number}")
    kind = ("terminal", "editor", "web")[number % 3]
    theme = rng.choice(list(_THEMES))
    colours = _THEMES[theme]
    image = Image.new("RGB", rng.choice(_SIZES), colours[1])
    ImageDraw.Draw(image).rectangle((0, 0, image.width, _BAR), fill=colours[2])
    face = choose(rng, *(("sans", "serif") if kind == "web" else ("mono",)))
    em = size(rng, 10, 20)
    draw = {"terminal": _terminal, "editor": _editor, "web": _web}[kind]
    lines = draw(rng, image, face, em, colours)
    facts: Facts = {"font": face.name, "size": em, "theme": f"{kind}, {theme}"}
    return [Page(image, (transcribe(lines),), face.x_height * em, "block", facts)]


def _terminal(
    rng: random.Random, image: Image.Image, face: Face, em: int, colours: _Colours
) -> list[str]:
    pen = ImageDraw.Draw(image)
    name, paragraphs = passage(rng, _SHOWN)
    font, pitch = face.at(em), round(em * 1.25)
    width = image.width - 3 * em
    printed = [line for p in paragraphs for line in (*wrap(p, font, width), "")]
    prompt = [f"$ pydoc {name}"]
    y = write(pen, prompt, (em, _BAR + em), font, pitch, colours[4])
    write(pen, printed, (em, y), font, pitch, colours[0])
    return [*prompt, *printed]


def _editor(
    rng: random.Random, image: Image.Image, face: Face, em: int, colours: _Colours
) -> list[str]:
    """A program with its words in colours, under a tab with its file's name."""
    pen = ImageDraw.Draw(image)
    name, lines = program(rng, _SHOWN)
    font, pitch = face.at(em), round(em * 1.4)
    lines = lines[: (image.height - _BAR - 2 * em) // pitch]
    pen.text((em, _BAR / 2), name, fill=colours[0], font=font, anchor="lm")
    advance = font.getlength("0")
    for row, line in enumerate(lines):
        y = _BAR + em + row * pitch
        for found in _WORD.finditer(line):
            colour = colours[_colour(found)]
            pen.text((2 * em + found.start() * advance, y), found[0], fill=colour, font=font)
    return [name, *lines]


def _web(
    rng: random.Random, image: Image.Image, face: Face, em: int, colours: _Colours
) -> list[str]:
    """A heading and paragraphs in one column, under a row of links."""
    pen = ImageDraw.Draw(image)
    name, paragraphs = passage(rng, _SHOWN)
    font, pitch = face.at(em), round(em * 1.5)
    width = min(image.width - 4 * em, 46 * em)  # about 90 letters, as style sheets limit a line
    left = (image.width - width) / 2
    links = "Home   Tutorial   Reference   Index"
    pen.text((left, _BAR / 2), links, fill=colours[5], font=font, anchor="lm")
    heading = name.capitalize()
    title = face.at(round(em * 1.8))
    y = write(pen, [heading], (left, _BAR + 1.5 * em), title, round(em * 2.8), colours[0])
    shown = [line for p in paragraphs for line in (*wrap(p, font, width), "")]
    write(pen, shown, (left, y), font, pitch, colours[0])
    return [links, heading, *shown]


def _colour(found: re.Match[str]) -> int:
    if found["note"] or found["string"]:
        return 4
    if found["word"] and keyword.iskeyword(found["word"]):
        return 3
    return 5 if found["word"] and found["word"].isdigit() else 0
