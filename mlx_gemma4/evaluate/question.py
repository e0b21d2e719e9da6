"""What a question is: items, how one is measured, and what is told of the measurements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .parts import Part

if TYPE_CHECKING:
    from ..session.transcriber import HearingMode

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]


@dataclass(frozen=True)
class Choice:
    """What was chosen on the command line.

    Attributes:
        limit: the most items of each kind; None for what the question takes by itself.
        seed: of everything that is drawn at random.
        sets: names of the sets of items; none for those that suit the models.
        folder: the user's own items.
        recipes: for the questions that compare recipes.
        work: a folder for what is worth keeping between runs.
        tiny: whether every model of the run is the demonstration model, which knows a small world.
        models: names of the run's models of ours, in order: the first is what others are held to.
    """

    limit: int | None = None
    seed: int = 20261124
    sets: tuple[str, ...] = ()
    folder: Path | None = None
    recipes: tuple[str, ...] = ()
    work: Path = Path("out/eval")
    tiny: bool = False
    models: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Asked:
    """One turn of a user, and the answer that is wanted: pictures, then words, then sounds.

    Attributes:
        wanted: the right answer.
        text: the words of the question.
        images: pictures.
        sounds: (n,) float32 samples of 16 kHz each.
        image_tokens: the most tokens that a picture may take; None for the model's own.
        before: words that stand in the context before all this, as a system turn.
        most: the most tokens of an answer.
        layout: of the pictures, for recognizers that want to be told: `pages.page.Page.layout`.
        hearing: where a model of ours hears the sounds, as in `Session`.
    """

    wanted: str
    text: str = ""
    images: tuple[Image.Image, ...] = ()
    sounds: tuple[NDArray[np.float32], ...] = ()
    image_tokens: int | None = None
    before: str = ""
    most: int = 256
    layout: str = ""
    hearing: "HearingMode" = "auto"


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to measure.

    Attributes:
        id: its name, the same in every run with the same seed.
        facts: what kind it is: its set, the height of its letters, how loud its noise is.
        make: makes what is asked, when its turn comes; None where nothing is.
        recipe: in which the subject is measured, where a question compares recipes of one model;
            empty for the subject as it is.
    """

    id: str
    facts: Facts
    make: Callable[[], Asked] | None = None
    recipe: str = ""


class Subject(Protocol):
    """Who is asked: a model of ours (`models.Model`) or a rival program (`baselines`)."""

    @property
    def name(self) -> str:
        """The model as it was given, or the rival."""

    @property
    def recipe(self) -> str:
        """How its weights are stored; empty where that is nobody's business."""

    @property
    def revision(self) -> str:
        """Of its weights."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Program -> version, of what it runs on."""

    @property
    def takes(self) -> frozenset[str]:
        """Of "text", "image" and "sound", what it understands."""

    def answer(self, asked: Asked) -> str:
        """Answer.

        Raises:
            Gemma4Error: it cannot.
        """

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class Row:
    """What was measured of one item and one subject: a line of results.jsonl.

    Attributes:
        measured: by name; {"failed": why} where it could not be measured.
        seconds: how long that took.
        at: when, in seconds since 1970.
    """

    question: str
    item: str
    facts: Facts
    model: str
    recipe: str
    revision: str
    measured: Mapping[str, Any]
    seconds: float
    at: float
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""

    @property
    def subject(self) -> str:
        """Who was asked, as tables name it."""
        return self.model if self.recipe in ("", "as it is") else f"{self.model} ({self.recipe})"

    @property
    def failed(self) -> bool:
        """Whether it could not be measured."""
        return "failed" in self.measured


class Question(Protocol):
    """One question.

    Attributes:
        name: of its command.
        about: a sentence: what it asks.
        sets: sets of items, by name: a sentence each.
        needs: what a subject has to take to be asked.
    """

    name: str
    about: str
    sets: Mapping[str, str]
    needs: frozenset[str]

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List the items for a subject; each is made when its turn comes.

        Raises:
            Gemma4Error: what is chosen is not there, or something to make items with is missing.
        """

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Measure one item: what JSON can hold, by name.

        Raises:
            Gemma4Error: it cannot be measured; that is noted, and the run goes on.
        """

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Say what the rows show: paragraphs, tables, plots."""
