"""What an item of the examination is, and which rows the table has."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mlx_gemma4.evaluate.tiny.receipts import Drawing
from mlx_gemma4.evaluate.tiny.tasks import Exchange


@dataclass(frozen=True)
class Item:
    """A conversation up to the exchange that is scored; `tools` are declared in its system turn."""

    exchanges: tuple[Exchange, ...]
    tools: tuple[dict[str, Any], ...] = ()


Judge = Callable[[str, str], bool]
"""Whether an answer (second) is right where another (first) was wanted."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        make: makes an item from a random source.
        target: the least that the share of right answers is to be; None where none is set.
        errors: also count "characters" or "words".
        count: items asked for, as a share of what is usual.
        beside: the row whose items are the same but for what this row adds: the two are paired.
        invention: the row counts wrong answers as inventions, of which `target` is the most.
    """

    name: str
    make: Callable[[random.Random], Item]
    target: float | None = None
    errors: str = ""
    count: float = 1.0
    beside: str = ""
    judge: Judge | None = None
    invention: bool = False


def exactly(wanted: str, given: str) -> bool:
    return wanted == given


def folded(wanted: str, given: str) -> bool:
    """The same text but for white space and case."""
    return wanted.lower().split() == given.lower().split()


def listed(wanted: str, given: str) -> bool:
    """The same list but for what is between its members."""
    parts = given.replace(" and ", ",").replace("\n", ",").split(",")
    return [p.strip() for p in wanted.split(",")] == [p.strip() for p in parts]


def names(wanted: str, given: str) -> bool:
    """One of two words: the wanted one, the last of what is wanted, and not the other."""
    return wanted.split()[-1] in given.lower() and other(wanted) not in given.lower()


def other(wanted: str) -> str:
    """The word that is not wanted."""
    return {"first": "second", "second": "first"}[wanted.split()[-1]]


def shown(
    image: Image.Image, question: str, answer: str, budget: int = 70, kind: str = ""
) -> Exchange:
    """A picture and a typed question."""
    return Exchange(answer, question, Drawing(image, ()), budget, kind=kind)


def heard(answer: str, sound: np.ndarray, before: Exchange | None = None) -> Item:
    """A sound, alone or spoken about a picture."""
    exchange = Exchange(answer, sound=sound) if before is None else replace(
        before, question="", sound=sound)  # fmt: skip
    return Item((exchange,))


def one(*exchanges: Exchange, tools: Sequence[dict[str, Any]] = ()) -> Item:
    return Item(exchanges, tuple(tools))
