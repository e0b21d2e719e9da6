"""First receipts printed otherwise: other fonts, room, a turn, other orders and dates."""

import random
from dataclasses import dataclass, replace

from PIL import Image

from mlx_gemma4.evaluate.tiny.receipts import Drawing, Receipt, columns

from . import pages
from .papers import receipt_rows


@dataclass(frozen=True)
class Prints:
    """Shares of the first receipts on which each of these is done, and the most of it.

    Attributes:
        font: another font.
        room: paper around it, up to `wide` pixels on each side.
        turn: turned by up to three degrees, or seen from the side.
        order: its lines in another order. date: another form of its date.
    """

    font: float = 0.0
    room: float = 0.0
    turn: float = 0.0
    order: float = 0.0
    date: float = 0.0
    wide: float = 40.0


def dated(receipt: Receipt, rng: random.Random) -> Receipt:
    """With its date as 26.07.2030, 07/26/2030 or 26-07-2030."""
    year, month, day = receipt.date.split("-")
    forms = (f"{day}.{month}.{year}", f"{month}/{day}/{year}", f"{day}-{month}-{year}")
    return replace(receipt, date=rng.choice(forms))


def lines(receipt: Receipt, rng: random.Random) -> tuple[str, ...]:
    """The lines of a receipt, in another order more often than not."""
    return tuple(
        columns(left, right) if right else left for left, right in receipt_rows(receipt, rng)
    )


def printed(drawing: Drawing, how: Prints, rng: random.Random) -> Drawing:
    """Room around a drawing, and a turn of it."""
    turned = rng.random() < how.turn
    if turned or rng.random() < how.room:
        drawing = _framed(drawing, how.wide, rng)
    if turned:
        side = rng.random() < 0.3
        look = pages.Look(turn=0.0 if side else rng.uniform(-3.2, 3.2), tilt=0.05 if side else 0.0)
        drawing = pages.disturb(drawing.image, list(drawing.characters), look, rng)
    return drawing


def _framed(drawing: Drawing, wide: float, rng: random.Random) -> Drawing:
    left, top, right, foot = (round(rng.uniform(0, wide)) for _ in range(4))
    image = drawing.image
    size = image.width + left + right, image.height + top + foot
    page = Image.new("RGB", size, image.getpixel((0, 0)))
    return pages.pasted(page, drawing, left, top)
