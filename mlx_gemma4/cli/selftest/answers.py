"""Checks of the chosen model: questions with one right answer, and how answers are drawn."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...evaluate.models import OurModel
from ...evaluate.question import Asked
from ...events import Token
from ...hub import catalog
from ...media.audio import RATE, open_sound
from ...session.session import Session
from ..speed import never_end, words
from .check import Outcome, judged

MOST = 64  # tokens of an answer
TOTAL, TAX, DIGITS = "19.56", "3.26", "40715"
DRAWN = 24  # tokens of an answer that is drawn at random
NUMBERS = "zero one two three four five six seven eight nine".split()


def receipt() -> Image.Image:
    with Image.open(catalog.shipped("assets/demo") / "receipt.png") as picture:
        return picture.convert("RGB")


def voice(name: str) -> NDArray[np.float32]:
    """A voice of the demonstration: samples of 16 kHz."""
    return open_sound(catalog.shipped("assets/demo") / f"{name}.wav")


KNOWN: Mapping[str, Callable[[], Asked]] = {
    "receipt": lambda: Asked(TOTAL, "what is the total?", (receipt(),), most=MOST),
    "digits": lambda: Asked(DIGITS, sounds=(voice("digits"),), most=MOST),
    "spoken question": lambda: Asked(
        TOTAL, images=(receipt(),), sounds=(voice("question"),), most=MOST
    ),
}
"""Questions with one right answer."""


def answers(name: str, subject: OurModel) -> Outcome:
    asked = KNOWN[name]()
    return _right(subject.answer(asked), asked.wanted)


def second_turn(subject: OurModel) -> Outcome:
    """Ask about a picture of the turn before, by voice."""
    session = Session(subject.model, tokenizer=subject.tokenizer)
    session.add_image(receipt())
    session.add_text("what is the total?")
    _reply(session)
    session.add_audio(voice("follow-up"), RATE)
    return _right(_reply(session), TAX)


def four_bits(_: OurModel) -> Outcome:
    """Ask the tiny model in 4 bits, whose matrix products are quantized ones."""
    subject = OurModel(f"{catalog.DEMONSTRATION}-4bit")
    for name, make in KNOWN.items():
        asked = make()
        outcome = _right(subject.answer(asked), asked.wanted)
        if outcome.status == "fail":
            return Outcome("fail", f"{name}: {outcome.seen}", outcome.figures)
    return judged(True, f"{len(KNOWN)} of {len(KNOWN)} answers are right", right=len(KNOWN))


def seeds(subject: OurModel) -> Outcome:
    """Draw at random: the same seed draws the same ids, another one others."""
    text = words(subject.tokenizer, 32)
    with endless(subject):
        drawn = []
        for seed in (1, 1, 2):
            session = Session(subject.model, tokenizer=subject.tokenizer)
            session.add_text(text)
            ids = [
                event.id
                for event in session.reply(DRAWN, temperature=1.5, seed=seed)
                if isinstance(event, Token)
            ]
            drawn.append(ids)
    same, other = drawn[0] == drawn[1], drawn[0] != drawn[2]
    return judged(
        same and other,
        f"the same seed drew {'the same' if same else 'other'} ids, "
        f"another one {'others' if other else 'the same'}",
        same=same,
        other=other,
    )


@contextmanager
def endless(subject: OurModel) -> Iterator[None]:
    """Let no answer end by itself inside the `with` block."""
    config = subject.model.config
    never_end(subject.model, subject.tokenizer)
    try:
        yield
    finally:
        subject.model.config = config


def _reply(session: Session) -> str:
    events = session.reply(MOST, temperature=0.0)
    return "".join(event.text for event in events if isinstance(event, Token))


def _right(answer: str, wanted: str) -> Outcome:
    """Whether an answer has the number that is wanted, and no other digit beside it."""
    text = answer.lower()
    if wanted == DIGITS:  # they may be written as words, or apart
        for digit, word in enumerate(NUMBERS):
            text = re.sub(rf"\b{word}\b", str(digit), text)
        text = re.sub(r"(?<=\d)[\s,-]+(?=\d)", "", text)
    right = re.search(rf"(?<!\d){re.escape(wanted)}(?!\d)", text) is not None
    shown = answer if len(answer) <= MOST else f"{answer[:MOST]}..."
    seen = wanted if right else f"answered {shown!r}, not {wanted}"
    return judged(right, seen, right=right)
