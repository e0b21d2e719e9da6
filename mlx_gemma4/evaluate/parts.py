"""What a report is made of, as plain data: text, tables, plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """A heading with a paragraph; either may be empty."""

    heading: str
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Point:
    """A value with its 95 % interval; `low` and `high` are `y` where there is none."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Plot:
    """Lines over a number.

    Attributes:
        file: name of its PNG, without the ending.
        x: what the x axis is, with its unit.
        y: what the y axis is, with its unit.
        lines: the points of each line, by its name.
        logarithmic: whether x is.
        share: whether y is a share, from 0 to 1.
        logarithmic_y: whether y is logarithmic; then no end of an interval may be 0.
    """

    file: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Point]]
    logarithmic: bool = False
    share: bool = False
    logarithmic_y: bool = False


Part = Words | Table | Plot
