"""Needles for the tiny model, which knows receipts and spoken digits and reads no other text.

A receipt is shown early in a conversation in the way of its world, and asked about at its end; or
digits are spoken, and asked for. What it answered before is written as it should be.
"""

import random
import zlib
from dataclasses import replace

from ..chat.messages import TextPart, Turn
from ..chat.render import render
from ..chat.tokenizer import Tokenizer
from ..model.config import Config
from .haystack import Haystack
from .tiny import receipts
from .tiny.speech import with_espeak
from .tiny.tasks import BLIND, EXAMINATION, GREETINGS, INTRODUCTION, REQUESTS, Exchange, Tasks

_WORLD = replace(EXAMINATION, budgets=(70,))
_KINDS = ("total", "date")
_LEFT = 8.0  # pixels: in the middle, as in its world


def build(
    kind: str, length: int, depth: float, name: str, tokenizer: Tokenizer, config: Config
) -> Haystack:
    """Make a conversation of at most `length` tokens, the same for the same name.

    Args:
        kind: "picture" (a receipt) or "sound" (digits).
        depth: 0 where the needle comes first, 1 where it comes just before the question.
    """
    id_ = f"{name}-{kind}-{length}-{depth:.3f}"
    rng = random.Random(id_)
    tasks = Tasks(zlib.crc32(id_.encode()), _WORLD)
    if kind == "picture":
        asks = rng.choice(_KINDS)
        needle, question, wanted, after = _receipt(tasks, asks)
    else:
        exchange = with_espeak(tasks.digits)[0]
        needle, question, wanted = exchange.turns(), rng.choice(REQUESTS), exchange.answer
        after = _said("hello", INTRODUCTION)
    asking = Turn("user", (TextPart(question),))

    def size(turns: list[Turn]) -> int:
        return len(render([*turns, asking], tokenizer, config).token_ids)

    room = length - size(needle)
    before: list[Turn] = []
    while size([*(more := [*before, *_before(kind, rng)]), *needle]) - size(needle) <= depth * room:
        before = more
    turns = [*before, *needle]
    while size([*turns, *after]) <= length:
        turns += after
    return Haystack(turns, {question: wanted})


def _receipt(tasks: Tasks, asks: str) -> tuple[list[Turn], str, str, list[Turn]]:
    """A receipt with a question about its tax, what is asked later, and more such questions."""
    receipt = receipts.make_receipt(tasks.rng, examination=True)
    tax, wanted = (receipt.answer(kind) for kind in ("tax", asks))
    question = receipts.QUESTIONS["tax"][0]
    drawing = receipts.draw(receipt.lines, receipts.Style(left=_LEFT))
    return (
        Exchange(tax, question, drawing).turns(),
        receipts.QUESTIONS[asks][0],
        wanted,
        _said(question, tax),
    )


def _before(kind: str, rng: random.Random) -> list[Turn]:
    if kind == "picture":
        return _said(receipts.QUESTIONS[rng.choice(receipts.KINDS)][0], BLIND)
    return _said(rng.choice(GREETINGS), INTRODUCTION)


def _said(question: str, answer: str) -> list[Turn]:
    return [Turn("user", (TextPart(question),)), Turn("model", (TextPart(answer),))]
