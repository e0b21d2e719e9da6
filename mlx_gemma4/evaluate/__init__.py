"""Questions that an independent reader would ask about this model; each is a file and a command.

`question.py` defines a question, and `run.py` asks it and writes the report. A question's file is
imported when it is asked.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .question import Question

NAMES = {
    "ocr": "how small may print be, and what does a larger image budget buy?",
    "speech": "how well is speech understood: noise, speed, voices, and its place in the context?",
    "quant": "what does each recipe cost: text, picture and sound apart?",
    "context": "what is recalled from how far back, and is memory what `gemma4 fit` estimates?",
    "memory": "how much memory do loading, reading and answering take?",
    "drafter": "how many tokens of a drafter are accepted, and what is gained?",
}


def named(name: str) -> "Question":
    question: Question = import_module(f".{name}", __package__).QUESTION
    return question
