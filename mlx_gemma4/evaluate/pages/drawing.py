"""What the makers of pages share: a random source for each page, lines that fit, a pen."""

import math
import random
from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]


def source(name: str, seed: int, number: int) -> random.Random:
    """The random source of one page: the same for the same set, seed and number."""
    return random.Random(f"{name} {seed} {number}")


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
