"""Rows that the table had from the start: the first small world, by its own makers."""

import random
from functools import partial

from mlx_gemma4.evaluate.tiny.receipts import KINDS
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION

from ..tiny.first_world import FirstWorld
from .item import Item, Row


def _asked(kind: str, rng: random.Random) -> Item:
    return Item(tuple(_tasks(rng).asked(kind)))


def _heard(task: str, rng: random.Random) -> Item:
    return Item(tuple(getattr(_tasks(rng), task)()[:1]))


def _mixed(turns: int, rng: random.Random) -> Item:
    return Item(tuple(_tasks(rng).mixed()[:turns]))


def _later(rng: random.Random) -> Item:
    while len(talk := _tasks(rng).later()) < 2:
        pass
    return Item(tuple(talk[:2]))


def _tasks(rng: random.Random) -> FirstWorld:
    return FirstWorld(rng.randrange(2**62), EXAMINATION)


def rows() -> list[Row]:
    return [
        *(Row(f"receipt: {kind}", partial(_asked, kind), 0.97) for kind in KINDS),
        Row("receipt: all lines", partial(_asked, "lines"), errors="characters"),
        Row("1 to 6 spoken digits", partial(_heard, "digits"), errors="words"),
        Row("spoken command", partial(_heard, "commands"), 0.92, "words"),
        Row("picture + spoken question", partial(_mixed, 1), 0.97),
        Row("second question, later turn", partial(_mixed, 2), 0.97),
        Row("picture in the second turn", _later),
    ]
