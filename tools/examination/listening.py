"""Rows of the table about sound."""

import random
from collections.abc import Callable

import numpy as np

from mlx_gemma4.evaluate.tiny import words

from . import hearing, talk
from .item import Item, Row, heard, shown
from .reading import ASKED, known, printed, receipt

Change = Callable[[random.Random, np.ndarray], np.ndarray]


def _asked(change: Change) -> Callable[[random.Random], Item]:
    """A spoken question about a receipt; the item is the same whatever is done to the speech."""

    def make(rng: random.Random) -> Item:
        paper = receipt(rng)
        kind = rng.choice(ASKED)
        before = shown(printed(rng, paper), "", paper.answer(kind))
        speech = hearing.say(rng, known(rng, kind).rstrip("?"))
        return heard(before.answer, change(rng, speech), before)

    return make


def _said(change: Change) -> Callable[[random.Random], Item]:
    """Digits and commands; the same whatever is done to the speech."""

    def make(rng: random.Random) -> Item:
        text = _text(rng)
        return heard(text, change(rng, hearing.say(rng, text)))

    return make


def unheard(rng: random.Random) -> Item:
    """Digits and commands by voices that training never had."""
    text = _text(rng)
    return heard(text, hearing.unheard(rng, text))


def sentence(rng: random.Random) -> Item:
    """A short sentence of common words."""
    text = rng.choice(talk.SENTENCES)
    return heard(text, hearing.say(rng, text))


def nobody(rng: random.Random) -> Item:
    """A sound in which nobody speaks."""
    return heard(talk.WORDLESS, hearing.nobody(rng))


def human(rng: random.Random) -> Item:
    """Digits spoken by a woman, from the prompts of a telephone exchange."""
    digits = "".join(rng.choices("0123456789", k=rng.randint(1, 4)))
    return heard(digits, hearing.human_digits(rng, digits))


def letter(rng: random.Random) -> Item:
    """One letter, spoken by the same woman."""
    name = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return heard(name, np.pad(0.7 * hearing.recorded(f"letters/{name}"), (3200, 3200)))


def number(rng: random.Random) -> Item:
    """Numbers of pocketsphinx's test data, by two men."""
    text, samples = rng.choice(hearing.sphinx())
    return heard(text, samples)


def _text(rng: random.Random) -> str:
    return words.digits(rng, True) if rng.random() < 0.5 else words.command(rng, True)


def _nothing(_: random.Random, speech: np.ndarray) -> np.ndarray:
    return speech


def rows() -> list[Row]:
    """All of them; a row with `beside` has the same items as the row that it names."""
    asked, said = "spoken question, nothing around it", "digits and commands, nothing around them"
    found = [
        Row(asked, _asked(_nothing), 0.97),
        Row("... in 0 to 1.5 s of quiet", _asked(hearing.quiet), -0.03, beside=asked),
        Row("... in hum, a fan or babble", _asked(hearing.noise), -0.03, beside=asked),
        Row(said, _said(_nothing), errors="words"),
        Row("... in quiet", _said(hearing.quiet), -0.03, "words", beside=said),
        Row("... in noise", _said(hearing.noise), -0.03, "words", beside=said),
        Row("... in a room", _said(hearing.room), None, "words", 0.5, said),
        Row("... by telephone", _said(lambda _, s: hearing.narrow(s)), None, "words", 0.5, said),
        Row("... through MP3", _said(lambda _, s: hearing.mp3(s)), None, "words", 0.5, said),
        Row(
            "... at a tenth of the loudness", _said(lambda _, s: s * 0.1), None, "words", 0.5, said
        ),
        Row("digits and commands, voices never heard", unheard, 0.85, "words"),
        Row("short sentences of common words", sentence, None, "words", 0.5),
        Row("no words: silence, noise, music, humming", nobody, 0.9),
    ]
    if hearing.ASTERISK.exists():
        found.append(Row("a woman's digits (asterisk)", human, None, "words", 0.5))
        found.append(Row("a woman's letters (asterisk)", letter, None, count=0.25))
    if hearing.SPHINX.exists():
        found.append(Row("men's numbers (pocketsphinx)", number, None, "words", 2 / 256))
    return found
