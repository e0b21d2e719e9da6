"""What a page is, and what makers of pages share: fonts, lines that fit, a pen.

The fonts are the text fonts that are there: matplotlib's own on every machine, and the system's.
"""

import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ..question import Facts

LINES = "lines"
"""The kind of a request for everything that is printed: what a recognizer can be compared on."""
VALUE = "value"
"""The kind of a request for one thing that is printed."""
TRANSCRIBE = (
    "Transcribe all the text in this picture exactly as it is printed, from top to bottom, row by "
    "row; where there are columns of running text, one column after the other. Answer with the "
    "text alone: no Markdown, no comments."
)
"""Our own words: the model card names text recognition among the uses and no wording for it."""

Colour = tuple[int, int, int]
# Ordinary text fonts of Macs, Linux and Windows. A list, since no font file states whether its
# letters are letters: Bodoni Ornaments claims the whole alphabet.
FAMILIES = {
    "sans": (
        "DejaVu Sans", "Helvetica", "Helvetica Neue", "Arial", "Verdana", "Trebuchet MS", "Avenir",
        "Liberation Sans", "Noto Sans", "Open Sans", "Roboto", "Ubuntu", "Segoe UI", "Cantarell",
    ),
    "serif": (
        "DejaVu Serif", "STIXGeneral", "Times New Roman", "Georgia", "Palatino", "Baskerville",
        "Liberation Serif", "Noto Serif", "Cambria",
    ),
    "mono": (
        "DejaVu Sans Mono", "Menlo", "Monaco", "Courier New", "SF Mono", "Fira Code", "Consolas",
        "Liberation Mono", "Noto Sans Mono", "Ubuntu Mono", "JetBrains Mono",
    ),
}  # fmt: skip
_REGULAR, _BOLD = 400, 700  # OpenType OS/2 usWeightClass
_LARGE = 1000  # pixels an em, to measure at


@dataclass(frozen=True)
class Request:
    """Something asked about a page; `kind` is LINES, VALUE or another name of a kind."""

    kind: str
    text: str
    answer: str
    about: str = ""


@dataclass(frozen=True, eq=False)
class Page:
    """A picture of text, and what is asked about it."""

    image: Image.Image  # RGB
    requests: tuple[Request, ...]
    x_height: float | None  # of the text's small x in pixels, headings aside; None: nobody knows
    layout: str = "page"  # for recognizers; "block" where it is one, read from left to right
    facts: Facts = field(default_factory=dict)  # its font, size and theme

    @property
    def digest(self) -> str:
        """Eight digits that change with any pixel or request, and so with the font."""
        sum_ = zlib.crc32(self.image.tobytes(), self.image.width)
        for request in self.requests:
            sum_ = zlib.crc32(repr(request).encode(), sum_)
        return f"{sum_:08x}"


Maker = Callable[[int, int], Sequence[Page]]
"""Makes the pages of a seed and a number: always the same on the same machine."""


def transcribe(lines: Sequence[str]) -> Request:
    return Request(LINES, TRANSCRIBE, "\n".join(" ".join(line.split()) for line in lines))


@dataclass(frozen=True)
class Face:
    """One font; `name` has its family and weight."""

    name: str
    file: str

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        return _open(self.file, size)

    @property
    def x_height(self) -> float:
        """Height of its small x in em, by which two fonts of the same em may differ by a fifth
        (G. E. Legge, C. A. Bigelow, 2011, https://doi.org/10.1167/11.5.8)."""
        return -self.at(_LARGE).getbbox("x", anchor="ls")[1] / _LARGE


@cache
def faces(shape: str) -> tuple[Face, ...]:
    """The faces of FAMILIES[shape] that this machine has: upright, regular and bold."""
    own = matplotlib.get_data_path()
    fonts = font_manager.fontManager.ttflist
    found: dict[str, Face] = {}
    # where the system has a font of matplotlib's too, matplotlib's: it is everywhere
    for entry in sorted(fonts, key=lambda font: (not font.fname.startswith(own), font.fname)):
        upright = entry.style == "normal" and entry.stretch == "normal"
        if entry.name in FAMILIES[shape] and upright and entry.weight in (_REGULAR, _BOLD):
            name = entry.name + (" Bold" if entry.weight == _BOLD else "")
            found.setdefault(name, Face(name, entry.fname))
    return tuple(found[name] for name in sorted(found) if Path(found[name].file).is_file())


def choose(rng: random.Random, *shapes: str) -> Face:
    return rng.choice(faces(rng.choice(shapes)))


@cache
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    # the basic layout joins no letters: Fira Code would draw != as one sign
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def size(rng: random.Random, least: int, most: int) -> int:
    """A font size in pixels an em, as many small as large ones (uniform in its logarithm)."""
    return round(math.exp(rng.uniform(math.log(least), math.log(most))))


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a paragraph into lines at most `width` pixels wide; a longer word stays whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def write(
    pen: ImageDraw.ImageDraw,
    lines: Sequence[str],
    corner: tuple[float, float],
    font: ImageFont.FreeTypeFont,
    pitch: float,
    ink: Colour,
) -> float:
    """Write lines below one another from a corner; returns where the next would start."""
    x, y = corner
    for line in lines:
        pen.text((x, y), line, fill=ink, font=font)
        y += pitch
    return y
