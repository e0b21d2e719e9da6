"""Needles for the tiny model, which knows receipts and spoken digits and reads no other text.

A receipt is shown early in a conversation in the way of its world, and asked about at its end; or
digits are spoken, and asked for. Its earlier answers are written as they should be.
"""

import random
import zlib

from ..chat.messages import TextPart, Turn
from ..chat.render import render
from ..chat.tokenizer import Tokenizer
from ..model.config import Config
from .haystack import Haystack
from .logits import turn
from .question import Asked
from .tiny import receipts
from .tiny.tasks import BLIND, GREETINGS, INTRODUCTION, REQUESTS, drawn

_KINDS = ("total", "date")
_TOKENS = 70  # of a receipt
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
    if kind == "picture":
        shown, question, wanted = _receipt(id_, rng.choice(_KINDS))
        after = _said(shown.text, shown.wanted)
    else:
        shown = drawn(id_, "digits")
        question, wanted = rng.choice(REQUESTS), shown.wanted
        after = _said("hello", INTRODUCTION)
    needle = [turn(shown, config), Turn("model", (TextPart(shown.wanted),))]
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


def _receipt(name: str, asks: str) -> tuple[Asked, str, str]:
    """A receipt with a question about its tax, and what is asked later with its answer."""
    rng = random.Random(zlib.crc32(name.encode()))
    receipt = receipts.make_receipt(rng, examination=True)
    tax, wanted = (receipt.answer(kind) for kind in ("tax", asks))
    image = receipts.draw(receipt.lines, receipts.Style(left=_LEFT)).image
    shown = Asked(tax, receipts.QUESTIONS["tax"][0], (image,), image_tokens=_TOKENS)
    return shown, receipts.QUESTIONS[asks][0], wanted


def _before(kind: str, rng: random.Random) -> list[Turn]:
    if kind == "picture":
        return _said(receipts.QUESTIONS[rng.choice(receipts.KINDS)][0], BLIND)
    return _said(rng.choice(GREETINGS), INTRODUCTION)


def _said(question: str, answer: str) -> list[Turn]:
    return [Turn("user", (TextPart(question),)), Turn("model", (TextPart(answer),))]
