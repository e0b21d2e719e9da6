"""Pages of what is invented: receipts as shops print them, and dense tables of names and numbers.

And the receipts that the tiny demonstration model knows, as its examination draws them.
"""

import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from ..question import Facts
from ..tiny import receipts as small
from ..tiny import words
from ..tiny.receipts import money
from ..tiny.tasks import EXAMINATION, drawn
from .page import LINES, VALUE, Colour, Face, Page, Request, choose, faces, size, transcribe

_GOODS = (
    "Oat milk 1 l", "Rye bread", "Butter 250 g", "Free range eggs", "Goat cheese", "Tomatoes 1 kg",
    "Basil", "Olive oil 0.75 l", "Spaghetti No. 5", "Red lentils", "Sea salt", "Dark chocolate 85%",
    "Apples 1 kg", "Bananas", "Orange juice", "Ground coffee", "Green tea", "Sparkling water 6x1.5",
    "Natural yoghurt", "Strawberry jam", "Sunflower seeds", "Peanut butter", "Honey 500 g", "Leek",
    "Carrots 2 kg", "Potatoes 2.5 kg", "Onions", "Garlic", "Chickpeas", "Soy sauce", "Basmati rice",
    "Dish soap", "Toothpaste", "Bin bags 20x", "Batteries AA", "Light bulb E27", "Notebook A5",
)  # fmt: skip
_Lines = Sequence[tuple[str, str]]  # the left and the right part of each
_STREETS = ("High Street", "Station Road", "Mill Lane", "Church Street", "Park Avenue", "Quay Road")
_PAPERS: dict[str, tuple[Colour, Colour]] = {
    "white": ((20, 20, 20), (255, 255, 255)),
    "thermal": ((58, 58, 76), (246, 244, 240)),
    "faded": ((120, 118, 124), (250, 249, 246)),
    "yellow": ((50, 40, 30), (250, 241, 205)),
}
SMALL_BUDGETS = EXAMINATION.budgets
"""Image tokens at which the tiny model was trained."""
_FONT = "DejaVu Sans Mono"  # of the small world; its bold letters are of the same height
_EM = small.ADVANCE / small.EM  # pixels
_CITIES = (
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
_STYLES: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    "ruled": ((0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 255, 255)),
    "striped": ((30, 30, 40), (255, 255, 255), (255, 255, 255), (228, 235, 245)),
    "bare": ((50, 50, 50), (252, 250, 244), (252, 250, 244), (252, 250, 244)),
    "dark": ((225, 225, 230), (28, 30, 36), (70, 74, 84), (36, 39, 47)),
}


def receipts(seed: int, number: int) -> Sequence[Page]:
    """One receipt, asked for all its text and for one thing on it, of four kinds in turn."""
    rng = random.Random(f"receipts {seed} {number}")
    lines, questions = _invent(rng)
    face, em, theme = choose(rng, "mono", "mono", "sans"), size(rng, 11, 26), rng.choice([*_PAPERS])
    about, question, answer = questions[number % len(questions)]
    alone = f"{question} Answer with that alone, as it is printed."
    requests = (
        transcribe([f"{left} {right}" for left, right in lines]),
        Request(VALUE, alone, answer, about),
    )
    image = _draw_receipt(lines, face, em, _PAPERS[theme], rng)
    facts: Facts = {"font": face.name, "size": em, "theme": theme}
    return [Page(image, requests, face.x_height * em, "block", facts)]


def _invent(rng: random.Random) -> tuple[_Lines, Sequence[tuple[str, str, str]]]:
    """A receipt's lines, and what can be asked: (about, question, answer)."""
    goods = rng.sample(_GOODS, rng.randint(3, 9))
    cents = [rng.randrange(19, 2500) for _ in goods]
    rate = rng.choice((5, 7, 19, 20, 21))
    tax = round(sum(cents) * rate / 100)
    total = sum(cents) + tax
    shop = f"{words.shop(rng, examination=True)} {rng.choice(('MARKET', 'FOODS', 'STORE'))}"
    day = f"{rng.randrange(1, 29):02d}.{rng.randrange(1, 13):02d}.20{rng.randrange(10, 27)}"
    time = f"{rng.randrange(7, 22):02d}:{rng.randrange(60):02d}"
    asked = rng.randrange(len(goods))
    lines = (
        (shop, ""),
        (f"{rng.randrange(1, 200)} {rng.choice(_STREETS)}", ""),
        (day, time),
        *((name, money(price)) for name, price in zip(goods, cents, strict=True)),
        ("Subtotal", money(sum(cents))),
        (f"Tax {rate}%", money(tax)),
        ("TOTAL", money(total)),
        (f"Receipt {rng.randrange(10**5, 10**6)}", "THANK YOU"),
    )
    questions = (
        ("total", "What is the total on this receipt?", money(total)),
        ("date", "What is the date on this receipt?", day),
        ("price", f"On this receipt, what does {goods[asked]} cost?", money(cents[asked])),
        ("tax", "How much tax is on this receipt?", money(tax)),
    )
    return lines, questions


def _draw_receipt(
    lines: _Lines, face: Face, em: int, colours: tuple[Colour, Colour], rng: random.Random
) -> Image.Image:
    """A strip of paper on a table up to four times as wide and three times as high."""
    ink, paper = colours
    font, pitch = face.at(em), round(em * rng.uniform(1.2, 1.5))
    texts = [left + right for left, right in lines]
    width = round(max(map(font.getlength, texts)) + 4 * em)
    height = pitch * len(lines) + 2 * em
    table = (round(width * rng.uniform(1.05, 4)), round(height * rng.uniform(1.05, 3)))
    dark: Colour = (rng.randrange(60, 130), rng.randrange(60, 120), rng.randrange(50, 110))
    image = Image.new("RGB", table, dark)
    x, y = rng.randint(0, table[0] - width), rng.randint(0, table[1] - height)
    pen = ImageDraw.Draw(image)
    pen.rectangle((x, y, x + width, y + height), fill=paper)
    for number, (left, right) in enumerate(lines):
        top = y + em + number * pitch
        pen.text((x + em, top), left, fill=ink, font=font)
        pen.text((x + width - em, top), right, fill=ink, font=font, anchor="ra")
    return image


def small_receipts(seed: int, number: int) -> Sequence[Page]:
    """Six receipts: one asked for all lines, and one for each kind of `small.KINDS`."""
    face = next(face for face in faces("mono") if face.name == _FONT)
    facts: Facts = {"font": _FONT, "size": round(_EM, 1), "theme": "white"}
    pages = []
    for kind in (*small.KINDS, LINES):
        asked = drawn(f"{kind} {seed} {number}", kind)
        request = Request(kind, asked.text, asked.wanted)
        pages.append(Page(asked.images[0], (request,), face.x_height * _EM, "block", facts))
    return pages


def tables(seed: int, number: int) -> Sequence[Page]:
    """One table, ruled, striped or bare, asked for all its text and for one cell."""
    rng = random.Random(f"tables {seed} {number}")
    heads = ["City", *rng.sample(list(_COLUMNS), rng.randint(3, 6))]
    names = sorted(rng.sample(_CITIES, rng.randint(8, 16)))
    cells = [[name, *(_COLUMNS[head](rng) for head in heads[1:])] for name in names]
    face, em, theme = choose(rng, "sans", "serif", "mono"), size(rng, 9, 22), rng.choice([*_STYLES])
    row, column = rng.randrange(len(names)), rng.randrange(1, len(heads))
    question = (
        f"In the row of {names[row]}, what stands in the column {heads[column]}? Answer with that "
        "cell alone, as it is printed."
    )
    requests = (
        transcribe([" ".join(line) for line in (heads, *cells)]),
        Request(VALUE, question, cells[row][column], "cell"),
    )
    image = _draw_table([heads, *cells], face.at(em), em, _STYLES[theme], rng)
    facts: Facts = {"font": face.name, "size": em, "theme": theme}
    return [Page(image, requests, face.x_height * em, "block", facts)]


def _draw_table(
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
