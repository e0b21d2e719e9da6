"""The tasks of the small world: each makes a fresh conversation with pictures and sounds in it.

A task knows nothing of token ids: it returns exchanges, and whoever asks writes them as ids.
"""

import random
import zlib
from dataclasses import dataclass, replace

import numpy as np

from ..question import Asked
from . import receipts, words
from .receipts import Drawing, Style
from .speech import random_delivery, say

GREETINGS = (
    "hello", "hi", "good morning", "how are you", "who are you", "what can you do", "help",
    "thank you",
)  # fmt: skip
INTRODUCTION = "I am a tiny demonstration model, not Gemma. Show me a receipt or speak to me."
BLIND = "I see no receipt."
REQUESTS = (
    "write down what you hear", "what did you hear", "transcribe the sound", "what was said",
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """One question and its answer, with its picture or sound; `said` is the sound's text."""

    answer: str
    question: str = ""
    drawing: Drawing | None = None
    budget: int = 70
    sound: np.ndarray | None = None
    said: str = ""
    kind: str = ""
    label: str | None = None  # what is printed just before the answer; None: nowhere

    def asked(self) -> Asked:
        images = () if self.drawing is None else (self.drawing.image,)
        sounds = () if self.sound is None else (self.sound,)
        return Asked(self.answer, self.question, images, sounds, self.budget, most=160)


@dataclass(frozen=True)
class World:
    """How wide the world is: what the curriculum loosens step by step."""

    examination: bool = False
    shift: float = 2.0  # pixels by which a text block is off its cell grid
    budgets: tuple[int, ...] = (70,)
    rows: int = 10
    digits: int = 6
    jumble: float = 0.0  # share of spoken sentences that are random words, so that each is heard
    shop: float = 1.0  # weight of the shop's name among the questions
    absent: float = 0.15  # share of price questions about an item that is not there
    anywhere: float = 0.0  # share of pictures with text at any height and a narrower pitch
    colour: float = 0.0  # share of coloured and dark pictures
    fonts: tuple[str, ...] = ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")
    sizes: tuple[tuple[int, int], ...] = ((288, 480),)


EXAMINATION = World(examination=True, budgets=(70, 140), shift=4.0)
"""What training never saw."""


class Tasks:
    """Makers of conversations; one random source each, so that a seed makes the same list."""

    def __init__(self, seed: int, world: World) -> None:
        self.rng = random.Random(seed)
        self.world = world

    def asked(self, kind: str) -> list[Exchange]:
        """A receipt and one typed question of this kind."""
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        return [self._shown(receipt.lines, self._question(receipt, kind))]

    def chat(self) -> list[Exchange]:
        """Words alone: the answer is what this is, or that there is nothing to see."""
        rng = self.rng
        if rng.random() < 0.5:
            form = rng.choice(receipts.QUESTIONS[rng.choice(list(receipts.QUESTIONS))])
            return [Exchange(BLIND, self._written(form.format(rng.choice(receipts.ITEMS))))]
        return [Exchange(INTRODUCTION, self._written(rng.choice(GREETINGS)))]

    def digits(self) -> list[Exchange]:
        """Spoken digits, transcribed; sometimes a second string in a later turn."""
        many, given = self.rng.choice((1, 1, 2)), (self.world.examination, self.world.digits)
        return [self._heard(words.digits(self.rng, *given)) for _ in range(many)]

    def commands(self) -> list[Exchange]:
        """Spoken commands and questions, transcribed."""
        return [self._heard(self._sentence()) for _ in range(self.rng.choice((1, 1, 2)))]

    def say(self, text: str) -> np.ndarray:
        """Speak text as somebody in this world would: float32 samples at 16 kHz."""
        return say(text, random_delivery(self.rng), self.rng)

    def _sentence(self) -> str:
        if self.rng.random() < self.world.jumble:
            return " ".join(self.rng.choices(words.WORDS, k=self.rng.randint(2, 6)))
        if self.rng.random() < 0.6:
            return words.command(self.rng, self.world.examination)
        kinds = (*receipts.KINDS, "price")
        form = self.rng.choice(receipts.QUESTIONS[self.rng.choice(kinds)])
        return form.format(self.rng.choice(receipts.ITEMS))

    def _heard(self, text: str) -> Exchange:
        request = self._written(self.rng.choice(REQUESTS)) if self.rng.random() < 0.6 else ""
        return Exchange(text, request, sound=self.say(text), said=text)

    def _question(self, receipt: receipts.Receipt, kind: str) -> Exchange:
        item = self.rng.choice(receipt.items)[0]
        if self.rng.random() < self.world.absent:
            item = self.rng.choice(receipts.ITEMS)
        question = self._written(self.rng.choice(receipts.QUESTIONS[kind]).format(item))
        return Exchange(
            receipt.answer(kind, item), question, kind=kind, label=receipt.label(kind, item)
        )

    def _written(self, sentence: str) -> str:
        if self.rng.random() < 0.5:
            sentence = sentence.capitalize()
        return sentence + ("?" if self.rng.random() < 0.6 else "")

    def _shown(self, lines: tuple[str, ...], exchange: Exchange) -> Exchange:
        drawing = receipts.draw(lines, self._style(len(lines)))
        return replace(exchange, drawing=drawing, budget=self.rng.choice(self.world.budgets))

    def _style(self, rows: int) -> Style:
        rng, world = self.rng, self.world
        width, height = rng.choice([s for s in world.sizes if s[1] >= rows * receipts.PITCH])
        pitch, top = receipts.PITCH, 0.0
        spare = int(height // pitch) - rows
        if rng.random() < world.anywhere:
            pitch = rng.uniform(40, receipts.PITCH)
            top = rng.uniform(0, height - rows * pitch)
        else:
            top = pitch * rng.randint(0, spare) + rng.uniform(-world.shift, world.shift)
        margin = width - receipts.COLUMNS * receipts.ADVANCE
        left = min(max(margin / 2 + rng.uniform(-world.shift, world.shift), 0), margin)
        ink, paper = _colours(rng) if rng.random() < world.colour else ((0, 0, 0), (255, 255, 255))
        return Style(
            (width, height), rng.choice(world.fonts), receipts.ADVANCE, pitch, left, top, ink, paper
        )


def drawn(name: str, kind: str, world: World = EXAMINATION) -> Asked:
    """An exchange of a kind, the same for the same name."""
    tasks = Tasks(zlib.crc32(name.encode()), world)
    made = tasks.asked(kind) if kind in receipts.QUESTIONS else getattr(tasks, kind)()
    exchange: Exchange = made[0]
    return exchange.asked()


def _colours(rng: random.Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    dark = tuple(rng.randrange(0, 90) for _ in range(3))
    light = tuple(rng.randrange(170, 256) for _ in range(3))
    return (light, dark) if rng.random() < 0.5 else (dark, light)  # type: ignore[return-value]
