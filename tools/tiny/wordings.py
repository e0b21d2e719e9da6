"""What can be asked and said in the small world, in many wordings; one core in six is held out.

A question is a core with words of politeness around it, in any case, with or without punctuation.
Which cores are held out is a function of their text, so that training and examination agree.
"""

import random
import zlib

from mlx_gemma4.evaluate.tiny.receipts import QUESTIONS
from mlx_gemma4.evaluate.tiny.tasks import GREETINGS, REQUESTS

from .sentences import AFTER, BEFORE, BEYOND, CORES, TOPICS

NO_WORDS = "I heard no words."
NOT_SHOWN = "That is not in the picture."
UNREADABLE = "I cannot read this picture."
OUTSIDE = "I cannot help with that. I can read a receipt or write down what you say."

_KEPT = {*GREETINGS, *REQUESTS, *(form for forms in QUESTIONS.values() for form in forms)}
_SALT = 360  # with it, every word but nine of the cores held out is in a core of training
FOLLOW = ("and {}", "what about {}", "and what about {}", "now {}", "then {}")
NOUNS = {"total": "the total", "tax": "the tax", "date": "the date", "shop": "the shop",
         "count": "the number of items", "price": "the {}"}  # fmt: skip


def part(pool: tuple[str, ...], examination: bool) -> list[str]:
    """Those of a pool that belong to training, or to the examination; all where there are none."""
    return [c for c in pool if held_out(c) == examination] or list(pool)


def held_out(core: str) -> bool:
    """One core in six is never practised; what the model was taught from the start always is."""
    return core not in _KEPT and zlib.crc32(f"{_SALT} {core}".encode()) % 6 == 0


def question(kind: str, rng: random.Random, examination: bool = False, item: str = "") -> str:
    """A question in small letters without punctuation, as it is spoken."""
    form = rng.choice(part(CORES[kind], examination))
    if rng.random() < 0.1 and kind in NOUNS and not examination:
        form = rng.choice(FOLLOW).format(NOUNS[kind])
    if rng.random() < 0.3:
        form = f"{rng.choice(BEFORE)} {form}"
    if rng.random() < 0.2:
        form = f"{form} {rng.choice(AFTER)}"
    return form.format(item).lower()


def beyond(rng: random.Random, examination: bool = False) -> str:
    """Something that this model cannot answer, in small letters."""
    form = rng.choice(part(BEYOND, examination))
    text = form.format(*rng.choices(part(TOPICS, examination), k=3))
    if rng.random() < 0.25:
        text = f"{rng.choice(BEFORE)} {text}"
    return text.lower()


def written(sentence: str, rng: random.Random) -> str:
    """A sentence as somebody types it: capitals and punctuation as they come."""
    form = rng.random()
    if form < 0.35:
        sentence = sentence[:1].upper() + sentence[1:]
    elif form < 0.5:
        sentence = sentence.upper()
    elif form < 0.65:
        sentence = rng.choice((sentence.title(), sentence.swapcase()))
    sentence = sentence.replace(" i ", " I ") if rng.random() < 0.7 else sentence
    return sentence + rng.choice(("", "", "?", "?", ".", "!", " ?", "??", "..."))
