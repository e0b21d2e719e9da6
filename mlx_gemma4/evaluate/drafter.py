"""How many of a drafter's tokens are accepted: asked when a drafter can be run."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Gemma4Error
from .parts import Part
from .question import Choice, Item, Row, Subject
from .questions import NAMES


class Drafter:
    """Nothing here runs a drafter yet, and this says so."""

    name = "drafter"
    about = NAMES["drafter"]
    sets: Mapping[str, str] = {}
    needs = frozenset({"text"})

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """Say that there is no drafter."""
        raise Gemma4Error(
            "drafter_missing",
            "No drafter is installed",
            "This version cannot run one: it decodes a token at a time.",
            "Ask the other questions: ocr, speech, quant, context, memory.",
        )

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Never asked, since there are no items."""
        raise NotImplementedError

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Nothing was measured."""
        return []


QUESTION = Drafter()
