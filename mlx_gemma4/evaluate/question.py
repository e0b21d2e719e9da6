"""What a question is: items, how one is measured, and what its report is made of, as plain data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import Gemma4Error
from .statistics import Estimate

if TYPE_CHECKING:
    from ..session.transcriber import HearingMode

Facts = Mapping[str, Any]
"""What JSON can hold, by name."""


@dataclass(frozen=True)
class Choice:
    limit: int | None = None  # the most items of each kind; None for what the question takes itself
    seed: int = 20261124  # of everything that is drawn at random
    sets: tuple[str, ...] = ()  # of items; none for those that suit the models
    folder: Path | None = None  # the user's own items
    recipes: tuple[str, ...] = ()  # for the questions that compare recipes
    work: Path = Path("out/eval")  # for what is worth keeping between runs
    tiny: bool = False  # whether every model of the run is the demonstration model
    drafter: str | None = None  # the folder or name of one; None for the model's own
    models: tuple[str, ...] = ()  # our models by name: the first is what others are compared with

    def own(self, what: str) -> Path:
        """The folder of the user's pictures or recordings; raises Gemma4Error where it has none."""
        if self.folder is None:
            raise Gemma4Error(
                "folder_empty",
                f"There are no {what} of yours",
                "The set folder was asked for without a folder.",
                "Name one with --folder; docs/evaluate.md describes what it contains.",
            )
        return self.folder


@dataclass(frozen=True, eq=False)
class Asked:
    """One turn of a user, and the answer that is wanted: pictures, then words, then sounds."""

    wanted: str
    text: str = ""
    images: tuple[Image.Image, ...] = ()
    sounds: tuple[NDArray[np.float32], ...] = ()  # (n,) samples of 16 kHz each
    image_tokens: int | None = None  # the most that a picture may take; None for the model's own
    before: str = ""  # a system turn before all this
    most: int = 256  # tokens of an answer
    layout: str = ""  # of the pictures, for recognizers: `pages.page.Page.layout`
    hearing: "HearingMode" = "auto"  # where a model of ours hears the sounds, as in `Session`


@dataclass(frozen=True, eq=False)
class Item:
    id: str  # the same in every run with the same seed
    facts: Facts  # its set, the height of its letters, how loud its noise is
    make: Callable[[], Asked] = lambda: Asked("")  # makes what is asked, where that is scored
    recipe: str = ""  # in which the subject is measured; empty for the subject as it is


class Subject(Protocol):
    """Who is asked: a model of ours (`models.OurModel`) or a rival program (`baselines`)."""

    @property
    def name(self) -> str: ...
    @property
    def recipe(self) -> str: ...  # how its weights are stored; empty for a rival
    @property
    def revision(self) -> str: ...  # of its weights
    @property
    def versions(self) -> Mapping[str, str]: ...  # program -> version, of what it runs on
    @property
    def takes(self) -> frozenset[str]: ...  # of "text", "image" and "sound"
    def answer(self, asked: Asked) -> str:
        """Answer; raises Gemma4Error where it cannot."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class Row:
    """What was measured of one item and one subject: a line of results.jsonl."""

    question: str
    item: str
    facts: Facts
    model: str
    recipe: str
    revision: str
    measured: Mapping[str, Any]  # {"failed": why} where it could not be measured
    seconds: float  # how long that took
    at: float  # when, in seconds since 1970
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""

    @property
    def subject(self) -> str:
        """Who was asked, as tables name it."""
        return self.model if self.recipe in ("", "as it is") else f"{self.model} ({self.recipe})"

    @property
    def failed(self) -> bool:
        return "failed" in self.measured


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


class Question(Protocol):
    name: str  # of its command
    sets: tuple[str, ...]  # names of its sets of items; docs/evaluate.md describes them
    needs: frozenset[str]  # what a subject has to take to be asked

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List the items for a subject; each is made when its turn comes.

        Raises Gemma4Error where what is chosen, or something to make items with, is missing.
        """

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Measure one item: what JSON can hold, by name.

        A Gemma4Error is noted, and the run goes on.
        """

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        """Show the rows: paragraphs, tables, plots."""
