"""What a report is made of, as plain data: text, tables, plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .statistics import Estimate


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


Line = Sequence[tuple[float, Estimate]]
"""Figures over a number; an interval of length 0 means that there is none."""


@dataclass(frozen=True)
class Plot:
    """Lines over a number."""

    file: str  # name of its PNG, without the ending
    title: str
    x: str  # what the axis is, with its unit
    y: str
    lines: Mapping[str, Line]  # by name
    logarithmic: bool = False  # whether x is
    share: bool = False  # whether y is a share, from 0 to 1
    logarithmic_y: bool = False  # then no end of an interval may be 0


Part = Words | Table | Plot
