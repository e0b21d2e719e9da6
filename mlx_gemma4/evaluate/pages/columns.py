"""Pages of two or three columns of running text under a heading."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..question import Facts
from . import texts
from .drawing import Colour, size, source, wrap, write
from .fonts import choose
from .page import Page, transcribe

_LONGEST = 900  # characters: what a page of 70 tokens can still hold, and an answer cost
_SHEETS = ((816, 1056), (1056, 816))  # pixels: a letter sheet at 96 an inch
_THEMES: dict[str, tuple[Colour, Colour]] = {
    "black on white": ((0, 0, 0), (255, 255, 255)),
    "sepia": ((67, 52, 34), (244, 236, 216)),
    "grey on white": ((85, 85, 85), (255, 255, 255)),
    "light on dark": ((222, 222, 222), (30, 30, 34)),
}


def make(seed: int, number: int) -> Sequence[Page]:
    rng = source("columns", seed, number)
    name, paragraphs = texts.passage(rng, _LONGEST)
    face, em = choose(rng, "serif", "sans"), size(rng, 9, 24)
    font, title = face.at(em), face.at(round(em * 1.7))
    theme = rng.choice(list(_THEMES))
    ink, paper = _THEMES[theme]
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
