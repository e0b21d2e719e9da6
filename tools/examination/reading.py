"""Rows of the table about pictures."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from PIL import Image

from mlx_gemma4.evaluate.tiny import receipts
from mlx_gemma4.evaluate.tiny.receipts import ITEMS, KINDS, QUESTIONS, Receipt

from . import pages, talk
from .item import Item, Row, folded, listed, one, shown

ASKED = ("total", "tax", "date", "count")
Made = Callable[[random.Random, Receipt], Image.Image]


def receipt(rng: random.Random) -> Receipt:
    """A receipt of the examination."""
    return receipts.make_receipt(rng, examination=True)


def known(rng: random.Random, kind: str, item: str = "") -> str:
    """A question in words of the first world."""
    return rng.choice(QUESTIONS[kind]).format(item) + rng.choice(("", "?"))


def printed(rng: random.Random, paper: Receipt) -> Image.Image:
    """A receipt as the first world had it."""
    return pages.set_lines(paper.lines, pages.usual(rng))


def _disturbed(make: Made, budget: int, rng: random.Random) -> Item:
    paper = receipt(rng)
    kind = rng.choice(ASKED)
    return one(shown(make(rng, paper), known(rng, kind), paper.answer(kind), budget, kind))


def _set(change: Callable[[pages.Print, random.Random], pages.Print]) -> Made:
    return lambda rng, paper: pages.set_lines(paper.lines, change(pages.usual(rng), rng))


def _done(change: Callable[[Image.Image, random.Random], Image.Image]) -> Made:
    return lambda rng, paper: change(pages.set_lines(paper.lines, _framed(rng)), rng)


def _framed(rng: random.Random) -> pages.Print:
    """With room at its edges for what turns it."""
    return replace(pages.usual(rng), margins=tuple(rng.uniform(16, 24) for _ in range(4)))  # type: ignore[arg-type]


def _capitals(rng: random.Random, paper: Receipt) -> Image.Image:
    return pages.set_lines([line.upper() for line in paper.lines], pages.usual(rng))


DISTURBED: dict[str, tuple[Made, float, int]] = {
    "any margin up to 80 pixels": (_set(pages.margin), 0.9, 70),
    "lines of 20 to 64 pixels": (_set(pages.sized), 0.9, 140),
    "six other fonts": (_set(lambda p, r: replace(p, font=r.choice(pages.OTHERS))), 0.9, 70),
    "capitals": (_capitals, 0.9, 70),
    "white on black": (_set(lambda p, r: replace(p, ink=pages.WHITE, paper=pages.BLACK)), 0.9, 70),
    "coloured": (_set(pages.coloured), 0.9, 70),
    "grey paper": (_set(pages.grey), 0.9, 70),
    "JPEG of quality 30 to 60": (
        lambda r, p: pages.jpeg(printed(r, p), r.randint(30, 60)), 0.9, 70),
    "blurred by 1 to 1.5 pixels": (
        lambda r, p: pages.blurred(printed(r, p), r.uniform(1, 1.5)), 0.9, 70),
    "noise of 10 to 25 levels": (
        lambda r, p: pages.noisy(printed(r, p), r.uniform(10, 25), r), 0.9, 70),
    "turned by 1 degree": (_done(lambda i, r: pages.turned(i, r.choice((-1, 1)))), 0.9, 70),
    "turned by 2 degrees": (_done(lambda i, r: pages.turned(i, r.choice((-2, 2)))), 0.8, 70),
    "turned by 3 degrees": (_done(lambda i, r: pages.turned(i, r.choice((-3, 3)))), 0.8, 70),
    "seen from the side": (_done(pages.askew), 0.9, 70),
    "till window in a screenshot": (
        lambda r, p: pages.screenshot(printed(r, p), r), 0.9, 140),
    "as by a phone: side, shade, blur, JPEG": (_done(pages.photograph), None, 70),  # type: ignore[dict-item]
}  # fmt: skip


def price(rng: random.Random) -> Item:
    """The price of an article that is there."""
    paper = receipt(rng)
    name, cost = rng.choice(paper.items)
    return one(shown(printed(rng, paper), known(rng, "price", name), cost, rng.choice((70, 140))))


def absent(rng: random.Random) -> Item:
    """Something that is not in the picture: an article, or what no receipt here has."""
    paper = receipt(rng)
    missing = rng.choice([name for name in ITEMS if name not in dict(paper.items)])
    question = known(rng, "price", missing)
    if rng.random() < 0.5:
        question = rng.choice(talk.ABSENT_THINGS)
    return one(shown(printed(rng, paper), question, talk.NOT_SHOWN))


def short_shop(rng: random.Random) -> Item:
    """A shop of two letters."""
    paper = replace(receipt(rng), shop="".join(rng.choices(receipts.ALPHABET, k=2)))
    return one(shown(printed(rng, paper), known(rng, "shop"), paper.shop))


def layout(rng: random.Random) -> Item:
    """Lines in another order, and dates as 26.07.2030, 07/26/2030 or 26-07-2030."""
    paper = receipt(rng)
    year, month, day = paper.date.split("-")
    date = rng.choice((f"{day}.{month}.{year}", f"{month}/{day}/{year}", f"{day}-{month}-{year}"))
    shop, _, *body = paper.lines
    items, sums = body[: len(paper.items)], body[len(paper.items) :]
    rng.shuffle(sums)
    lines = rng.choice(([date, shop, *items, *sums], [shop, *items, *sums, date]))
    kind = rng.choice(("date", "total", "tax"))
    answer = date if kind == "date" else paper.answer(kind)
    return one(shown(pages.set_lines(lines, pages.usual(rng)), known(rng, kind), answer))


def unreadable(rng: random.Random) -> Item:
    """A picture of nothing."""
    image = pages.unreadable(rng, printed(rng, receipt(rng)))
    return one(shown(image, known(rng, rng.choice((*KINDS, "lines"))), talk.UNREADABLE))


def buttons(rng: random.Random) -> Item:
    """Which buttons a dialog has."""
    message, names = rng.choice(talk.DIALOGS)
    image = pages.dialog(message, names, rng, rng.random() < 0.5)
    return one(shown(image, rng.choice(talk.BUTTONS), ", ".join(names)))


def message(rng: random.Random) -> Item:
    """The message of a dialog."""
    text, names = rng.choice(talk.DIALOGS)
    image = pages.dialog(text, names, rng, rng.random() < 0.5)
    return one(shown(image, rng.choice(talk.MESSAGE), " ".join(text)))


def cell(rng: random.Random) -> Item:
    """A value of a table by its row and column."""
    columns = rng.sample(("price", "size", "count", "weight", "stock"), 2)
    rows = rng.sample(ITEMS, rng.randint(2, 4))
    values = {row: [str(rng.randrange(1, 1000)) for _ in columns] for row in rows}
    lines = [f"{'':7}{columns[0]:>6}{columns[1]:>7}"]
    lines += [f"{row:7}{values[row][0]:>6}{values[row][1]:>7}" for row in rows]
    image = _grid(lines, rng)
    which, row = rng.randrange(2), rng.choice(rows)
    question = rng.choice(talk.CELL).format(column=columns[which], row=row)
    return one(shown(image, question, values[row][which]))


def _grid(lines: list[str], rng: random.Random) -> Image.Image:
    how = replace(pages.usual(rng), letter=14.0, margins=(8, 2, 8, 2), rows=6)
    return pages.set_columns(lines, how)


def rows() -> list[Row]:
    found = [
        Row(f"receipt, {name}", partial(_disturbed, make, budget), target)
        for name, (make, target, budget) in DISTURBED.items()
    ]
    return [
        *found,
        Row("other orders of lines and forms of dates", layout, 0.9),
        Row("shop of two letters", short_shop, 0.97),
        Row("price of an article", price, 0.9),
        Row("not in the picture", absent, 0.9, judge=talk.not_shown),
        Row("a picture that cannot be read", unreadable, 0.9),
        Row("buttons of a dialog", buttons, 0.9, judge=listed),
        Row("message of a dialog", message, 0.9, judge=folded),
        Row("value of a small table", cell, 0.85),
    ]
