"""Screens with small print: a terminal, an editor, a page of the web; light and dark."""

import keyword
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..question import Facts
from . import texts
from .drawing import Colour, size, source, wrap, write
from .fonts import Face, choose
from .page import Page, transcribe

_LONGEST = 700  # characters
_SCREENS = ((1512, 982), (1280, 800), (1024, 640))  # pixels: a laptop, and windows on it
_BAR = 34  # pixels: the strip above a window's content
# ink, paper, bar, and three colours of words that are marked
_THEMES: dict[str, tuple[Colour, ...]] = {
    "light": (
        (36, 41, 47), (255, 255, 255), (234, 237, 240), (171, 39, 52), (17, 99, 41), (5, 80, 174),
    ),
    "dark": (
        (212, 212, 212), (30, 30, 30), (52, 52, 54), (197, 134, 192), (181, 206, 168),
        (110, 170, 240),
    ),
}  # fmt: skip
_WORD = re.compile(r"(?P<note>#.*)|(?P<string>\"[^\"]*\"|'[^']*')|(?P<word>\w+)|(?P<other>\S)")


@dataclass(frozen=True)
class _Window:
    """What is drawn on, and with: sizes in pixels."""

    pen: ImageDraw.ImageDraw
    width: int
    height: int
    face: Face
    em: int
    colours: tuple[Colour, ...]


def make(seed: int, number: int) -> Sequence[Page]:
    """One screen, asked for all its text; the kinds take turns."""
    rng = source("screens", seed, number)
    kind = ("terminal", "editor", "web")[number % 3]
    theme = rng.choice(list(_THEMES))
    colours = _THEMES[theme]
    image = Image.new("RGB", rng.choice(_SCREENS), colours[1])
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, image.width, _BAR), fill=colours[2])
    face = choose(rng, *(("sans", "serif") if kind == "web" else ("mono",)))
    em = size(rng, 10, 20)
    draw = {"terminal": _terminal, "editor": _editor, "web": _web}[kind]
    lines = draw(rng, _Window(pen, image.width, image.height, face, em, colours))
    facts: Facts = {"font": face.name, "size": em, "theme": f"{kind}, {theme}"}
    return [Page(image, (transcribe(lines),), face.x_height * em, "block", facts)]


def _terminal(rng: random.Random, window: _Window) -> list[str]:
    pen, em, colours = window.pen, window.em, window.colours
    name, paragraphs = texts.passage(rng, _LONGEST)
    font, pitch = window.face.at(em), round(em * 1.25)
    width = window.width - 3 * em
    printed = [line for p in paragraphs for line in (*wrap(p, font, width), "")]
    prompt = [f"$ pydoc {name}"]
    y = write(pen, prompt, (em, _BAR + em), font, pitch, colours[4])
    write(pen, printed, (em, y), font, pitch, colours[0])
    return [*prompt, *printed]


def _editor(rng: random.Random, window: _Window) -> list[str]:
    """A program with its words in colours, under a tab with its file's name."""
    pen, em, colours = window.pen, window.em, window.colours
    name, lines = texts.program(rng, _LONGEST)
    font, pitch = window.face.at(em), round(em * 1.4)
    lines = lines[: (window.height - _BAR - 2 * em) // pitch]
    pen.text((em, _BAR / 2), name, fill=colours[0], font=font, anchor="lm")
    advance = font.getlength("0")
    for row, line in enumerate(lines):
        y = _BAR + em + row * pitch
        for found in _WORD.finditer(line):
            colour = colours[_colour(found)]
            pen.text((2 * em + found.start() * advance, y), found[0], fill=colour, font=font)
    return [name, *lines]


def _web(rng: random.Random, window: _Window) -> list[str]:
    """A heading and paragraphs in one column, under a row of links."""
    pen, em, colours = window.pen, window.em, window.colours
    name, paragraphs = texts.passage(rng, _LONGEST)
    font, pitch = window.face.at(em), round(em * 1.5)
    width = min(window.width - 4 * em, 46 * em)  # about 90 letters, as style sheets limit a line
    left = (window.width - width) / 2
    links = "Home   Tutorial   Reference   Index"
    pen.text((left, _BAR / 2), links, fill=colours[5], font=font, anchor="lm")
    heading = name.capitalize()
    title = window.face.at(round(em * 1.8))
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
