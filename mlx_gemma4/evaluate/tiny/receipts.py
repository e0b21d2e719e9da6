"""Receipts of the small world: what is printed on them, how they are drawn, what is asked."""

import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import words

ITEMS = (
    "tea", "bread", "milk", "soap", "rice", "apple", "salt", "sugar", "cheese", "paper", "butter",
    "honey", "lemon", "onion", "pasta", "juice", "pencil", "candle", "coffee", "towel", "pepper",
    "flour", "olives", "garlic",
)  # fmt: skip
KINDS = ("total", "tax", "date", "shop", "count")
QUESTIONS = {
    "total": ("what is the total", "how much is the total", "what is the total amount"),
    "tax": ("what is the tax", "how much is the tax", "how much tax is on it"),
    "date": ("what is the date", "what date is on it", "which day was it"),
    "shop": ("what is the shop", "which shop is it", "what is the name of the shop"),
    "count": ("how many items", "how many items are there", "what is the number of items"),
    "price": ("how much is the {}", "what does the {} cost", "what is the price of the {}"),
    "lines": ("read all lines", "read the text", "what is written here"),
}
ABSENT = "not on the receipt"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLUMNS = 17
ADVANCE = 16.0  # pixels a character; with a pitch of 48, three to a patch
PITCH = 48.0
EM = 0.60205  # em that DejaVu Sans Mono advances


@dataclass(frozen=True)
class Receipt:
    """One receipt; money is text as printed, such as `12.40`."""

    shop: str
    date: str
    items: tuple[tuple[str, str], ...]
    tax: str
    total: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The printed lines, at most ten of at most seventeen characters."""
        rows = [self.shop, self.date, *(columns(name, price) for name, price in self.items)]
        rows += [columns("items", str(len(self.items))), columns("tax", self.tax)]
        return (*rows, columns("total", self.total))

    def answer(self, kind: str, item: str = "") -> str:
        if kind == "price":
            return dict(self.items).get(item, ABSENT)
        if kind == "lines":
            return as_text(self.lines)
        return str(len(self.items)) if kind == "count" else str(getattr(self, kind))

    def label(self, kind: str, item: str = "") -> str:
        """What is printed just before the answer, without spaces."""
        return {"date": self.shop, "count": "items", "price": item}.get(
            kind, kind if kind in ("tax", "total") else ""
        )


@dataclass(frozen=True)
class Style:
    """How text is put on a canvas: sizes in pixels, colours as RGB."""

    size: tuple[int, int] = (288, 480)
    font: str = "DejaVuSansMono.ttf"
    advance: float = ADVANCE
    pitch: float = PITCH
    left: float = 0.0
    top: float = 0.0
    ink: tuple[int, int, int] = (0, 0, 0)
    paper: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True)
class Drawing:
    """A drawn picture and where each character's centre is on it."""

    image: Image.Image
    characters: tuple[tuple[str, float, float], ...] = field(repr=False)


def make_receipt(rng: random.Random, examination: bool = False) -> Receipt:
    """A receipt of one to five items whose numbers add up."""
    cents = [rng.randrange(5, 10 ** rng.choice((3, 3, 4))) for _ in range(rng.randint(1, 5))]
    tax = round(sum(cents) * rng.choice((0.05, 0.07, 0.1, 0.19, 0.2)))
    names = rng.sample(ITEMS, len(cents))
    date = f"20{rng.randrange(10, 40)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
    shop = words.shop(rng, examination)
    if not examination and rng.random() < 0.5:  # random letters cannot be guessed, only read
        shop = "".join(rng.choice(ALPHABET) for _ in range(rng.randint(3, 7)))
    items = tuple((name, money(value)) for name, value in zip(names, cents, strict=True))
    return Receipt(shop, date, items, money(tax), money(sum(cents) + tax))


def as_text(lines: tuple[str, ...]) -> str:
    """Printed lines as an answer: runs of spaces are one."""
    return "\n".join(" ".join(line.split()) for line in lines)


def columns(left: str, right: str) -> str:
    """A printed line with a text at its left and one at its right."""
    return left + " " * max(1, COLUMNS - len(left) - len(right)) + right


def draw(lines: tuple[str, ...], style: Style) -> Drawing:
    """Print lines on a canvas, one character a cell, as a till prints them."""
    image = Image.new("RGB", style.size, style.paper)
    pen = ImageDraw.Draw(image)
    letters = font(style.font, style.advance / EM)
    placed = []
    for row, line in enumerate(lines):
        middle = style.top + (row + 0.5) * style.pitch
        for column, character in enumerate(line):
            if character == " ":
                continue
            centre = style.left + (column + 0.5) * style.advance
            pen.text((centre, middle), character, fill=style.ink, font=letters, anchor="mm")
            placed.append((character, centre, middle))
    return Drawing(image, tuple(placed))


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


@cache
def font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font that matplotlib brings, so many pixels an em."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / name), size)
