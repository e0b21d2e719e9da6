"""Dense tables of names and numbers, ruled, striped or bare."""

import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from ..question import Facts
from .drawing import Colour, size, source
from .fonts import choose
from .page import VALUE, Page, Request, transcribe

_NAMES = (
    "Aarhus", "Bergen", "Bilbao", "Bologna", "Brno", "Cardiff", "Cork", "Debrecen", "Dresden",
    "Espoo", "Geneva", "Ghent", "Graz", "Kaunas", "Leipzig", "Lille", "Malmo", "Maribor", "Nantes",
    "Odense", "Oulu", "Patras", "Porto", "Riga", "Rouen", "Split", "Tartu", "Turin", "Utrecht",
    "Varna", "York", "Zagreb",
)  # fmt: skip
_COLUMNS: dict[str, Callable[[random.Random], str]] = {
    "Residents": lambda rng: f"{rng.randrange(20_000, 2_000_000):,}",
    "Area": lambda rng: f"{rng.uniform(20, 900):.1f}",
    "Rain": lambda rng: f"{rng.randrange(300, 2400)} mm",
    "Change": lambda rng: f"{rng.uniform(-9, 9):+.2f}%",
    "Founded": lambda rng: str(rng.randrange(900, 1950)),
    "Counted": lambda rng: f"20{rng.randrange(10, 27)}-{rng.randrange(1, 13):02d}",
    "Trams": lambda rng: str(rng.randrange(0, 400)),
    "Code": lambda rng: "".join(rng.choices("ACEFHKLMNPRTXY3479", k=5)),
}
# ink, paper, rules, every second row
_THEMES: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    "ruled": ((0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 255, 255)),
    "striped": ((30, 30, 40), (255, 255, 255), (255, 255, 255), (228, 235, 245)),
    "bare": ((50, 50, 50), (252, 250, 244), (252, 250, 244), (252, 250, 244)),
    "dark": ((225, 225, 230), (28, 30, 36), (70, 74, 84), (36, 39, 47)),
}


def make(seed: int, number: int) -> Sequence[Page]:
    rng = source("tables", seed, number)
    heads = ["City", *rng.sample(list(_COLUMNS), rng.randint(3, 6))]
    names = sorted(rng.sample(_NAMES, rng.randint(8, 16)))
    cells = [[name, *(_COLUMNS[head](rng) for head in heads[1:])] for name in names]
    face, em, theme = choose(rng, "sans", "serif", "mono"), size(rng, 9, 22), rng.choice([*_THEMES])
    row, column = rng.randrange(len(names)), rng.randrange(1, len(heads))
    question = (
        f"In the row of {names[row]}, what stands in the column {heads[column]}? Answer with that "
        "cell alone, as it is printed."
    )
    requests = (
        transcribe([" ".join(line) for line in (heads, *cells)]),
        Request(VALUE, question, cells[row][column], "cell"),
    )
    image = _draw([heads, *cells], face.at(em), em, _THEMES[theme], rng)
    facts: Facts = {"font": face.name, "size": em, "theme": theme}
    return [Page(image, requests, face.x_height * em, "block", facts)]


def _draw(
    rows: list[list[str]],
    font: ImageFont.FreeTypeFont,
    em: int,
    colours: tuple[Colour, Colour, Colour, Colour],
    rng: random.Random,
) -> Image.Image:
    """Names left, numbers right, on a sheet up to twice as large as the table either way."""
    ink, paper, rule, stripe = colours
    pad, pitch = em * rng.uniform(0.4, 1.0), round(em * rng.uniform(1.35, 1.8))
    widths = [max(map(font.getlength, column)) + 2 * pad for column in zip(*rows, strict=True)]
    width, height = sum(widths), pitch * len(rows)
    sheet = (round(width * rng.uniform(1.05, 2)), round(height * rng.uniform(1.05, 2)))
    left, top = rng.uniform(0, sheet[0] - width), rng.uniform(0, sheet[1] - height)
    image = Image.new("RGB", sheet, paper)
    pen = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        y, x = top + number * pitch, left
        if number % 2:
            pen.rectangle((left, y, left + width, y + pitch), fill=stripe)
        pen.line((left, y, left + width, y), fill=rule)
        for place, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            at, anchor = (x + pad, "lm") if place == 0 else (x + wide - pad, "rm")
            pen.text((at, y + pitch / 2), cell, fill=ink, font=font, anchor=anchor)
            x += wide
    pen.line((left, top + height, left + width, top + height), fill=rule)
    return image
