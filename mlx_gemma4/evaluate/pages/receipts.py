"""Receipts as shops print them: many fonts, paper on a table, amounts that add up."""

import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..question import Facts
from ..tiny import words
from ..tiny.receipts import money
from .drawing import Colour, size, source
from .fonts import Face, choose
from .page import VALUE, Page, Request, transcribe

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


def make(seed: int, number: int) -> Sequence[Page]:
    """One receipt, asked for all its text and for one thing on it, of four kinds in turn."""
    rng = source("receipts", seed, number)
    lines, questions = _invent(rng)
    face, em, theme = choose(rng, "mono", "mono", "sans"), size(rng, 11, 26), rng.choice([*_PAPERS])
    about, question, answer = questions[number % len(questions)]
    alone = f"{question} Answer with that alone, as it is printed."
    requests = (
        transcribe([f"{left} {right}" for left, right in lines]),
        Request(VALUE, alone, answer, about),
    )
    image = _draw(lines, face, em, _PAPERS[theme], rng)
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


def _draw(
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
