"""Numbers hidden in long text at ten depths: as a sentence, on a picture, or spoken.

The text is Python's own documentation (`pydoc_data.topics`), which every machine has. All ten
numbers are in one conversation, so that it is read once and asked ten times.

The tiny model reads no other text: a receipt of its world is shown early in a conversation, and
asked about at its end; or digits are spoken, and asked for. Its earlier answers are right.
"""

import functools
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, Turn
from ..chat.render import render
from ..chat.tokenizer import Tokenizer
from ..media.audio import frames
from ..media.images import patches
from ..model.config import Config
from .logits import turn
from .pages.texts import reference
from .question import Asked
from .tiny import receipts
from .tiny.speech import Delivery, say
from .tiny.tasks import BLIND, GREETINGS, INTRODUCTION, REQUESTS, drawn

COLOURS = (
    "red", "blue", "green", "yellow", "black", "white", "orange", "purple", "brown", "grey",
)  # fmt: skip
DEPTHS = len(COLOURS)
IMAGE_TOKENS = 70  # the least that the model was made for; the print fills the picture
_ANSWERED = Turn("model", (TextPart("Noted."),))
_VOICE = Delivery("en-us", 160, 50, 0.1, 0.8, 0.0)
_LEAST = 24  # tokens of filler that are worth a turn
_ASKED = ("total", "date")
_LEFT = 8.0  # pixels: in the middle, as in its world


@dataclass(frozen=True)
class Needle:
    """The number of one locker."""

    colour: str
    number: str

    @property
    def sentence(self) -> str:
        return f"The code of the {self.colour} locker is {self.number}."

    @property
    def question(self) -> str:
        return f"What is the code of the {self.colour} locker? Answer with the number only."

    def parts(self, kind: str) -> tuple[Part, ...]:
        """What a user adds: "text", "picture" or "sound"."""
        if kind == "text":
            return (TextPart(self.sentence),)
        if kind == "picture":
            return (ImagePart(patches(self.picture(), IMAGE_TOKENS)), TextPart("Here is a sign."))
        return (TextPart("Here is a message."), SoundPart(frames(self.sound())))

    def picture(self) -> Pillow.Image:
        image = Pillow.new("RGB", (384, 384), "white")
        pen, bold = ImageDraw.Draw(image), receipts.font("DejaVuSans-Bold.ttf", 64)
        for line, text in enumerate((self.colour.upper(), "LOCKER", self.number)):
            pen.text((192, 92 + 100 * line), text, fill="black", font=bold, anchor="mm")
        return image

    def sound(self) -> NDArray[np.float32]:
        """Speak it: (n,) samples of 16 kHz; raises Gemma4Error where there is no espeak-ng."""
        said = f"The code of the {self.colour} locker is {' '.join(self.number)}"
        return say(said, _VOICE, random.Random(0))


@dataclass(frozen=True, eq=False)
class Haystack:
    """A conversation, and what is asked about it: question -> the right answer, in order."""

    turns: Sequence[Turn]
    asked: Mapping[str, str]


def needles(rng: random.Random) -> list[Needle]:
    """Ten lockers in random order, each with a number of five digits of its own."""
    numbers = rng.sample(range(10_000, 100_000), DEPTHS)
    colours = rng.sample(COLOURS, DEPTHS)
    return [Needle(c, str(n)) for c, n in zip(colours, numbers, strict=True)]


def build(kind: str, length: int, name: str, tokenizer: Tokenizer, config: Config) -> Haystack:
    """Make a conversation of about `length` tokens with ten needles, the same for the same name.

    The first needle is at the start, the last just before the question, and between them is
    filler of equal length, if there is room: the needles alone may be longer.
    """
    rng = random.Random(f"{name}-{kind}-{length}")
    hidden = needles(rng)
    given = [Turn("user", needle.parts(kind)) for needle in hidden]
    asking = Turn("user", (TextPart(hidden[0].question),))
    marked = [*_woven(given, [_filler("")] * (DEPTHS - 1)), asking]
    room = (length - len(render(marked, tokenizer, config).token_ids)) // (DEPTHS - 1)
    fillers: list[Sequence[Turn]] = [()] * (DEPTHS - 1)
    if room >= _LEAST:
        start = rng.randrange(len(text()))
        around = text()[start:] + text()[:start]
        ids = _ids(around, room * (DEPTHS - 1), tokenizer)
        cut = [ids[room * n : room * (n + 1)] for n in range(DEPTHS - 1)]
        fillers = [_filler(tokenizer.decode(part)) for part in cut]
    turns = _woven(given, fillers)
    return Haystack(turns, {needle.question: needle.number for needle in hidden})


@functools.cache
def text() -> str:
    """Python's documentation of its language: about 700,000 characters."""
    return "\n\n".join(reference().values())


def _ids(around: str, count: int, tokenizer: Tokenizer) -> list[int]:
    """The first `count` ids of a text, which is taken again where it is too short."""
    ids = tokenizer.encode(around[: 6 * count])
    while len(ids) < count:
        ids = ids + tokenizer.encode(around)
    return ids[:count]


def _filler(text: str) -> tuple[Turn, ...]:
    return (Turn("user", (TextPart(f"Some notes:\n{text}"),)), _ANSWERED)


def _woven(given: Sequence[Turn], fillers: Sequence[Sequence[Turn]]) -> list[Turn]:
    turns = []
    for needle, filler in zip(given, [*fillers, ()], strict=True):
        turns += [needle, _ANSWERED, *filler]
    return turns


def build_small(
    kind: str, length: int, depth: float, name: str, tokenizer: Tokenizer, config: Config
) -> Haystack:
    """Make a conversation of at most `length` tokens, the same for the same name.

    The needle, a "picture" or "sound", comes first at depth 0, just before the question at 1.
    """
    id_ = f"{name}-{kind}-{length}-{depth:.3f}"
    rng = random.Random(id_)
    if kind == "picture":
        shown, question, wanted = _receipt(id_, rng.choice(_ASKED))
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
    shown = Asked(tax, receipts.QUESTIONS["tax"][0], (image,), image_tokens=IMAGE_TOKENS)
    return shown, receipts.QUESTIONS[asks][0], wanted


def _before(kind: str, rng: random.Random) -> list[Turn]:
    if kind == "picture":
        return _said(receipts.QUESTIONS[rng.choice(receipts.KINDS)][0], BLIND)
    return _said(rng.choice(GREETINGS), INTRODUCTION)


def _said(question: str, answer: str) -> list[Turn]:
    return [Turn("user", (TextPart(question),)), Turn("model", (TextPart(answer),))]
