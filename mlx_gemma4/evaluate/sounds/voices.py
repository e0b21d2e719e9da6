"""Who speaks what: sentences and utterances of the small world, spoken by espeak-ng."""

import random
import tomllib
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from ...media.audio import Samples
from ..tiny import words
from ..tiny.speech import VOICES, Delivery, random_delivery, speaker, with_espeak

PACE = 175
"""Words a minute at speed 1: espeak-ng's own default (its `--help`)."""
LANGUAGES = ("de", "fr", "es", "it", "pt", "nl")
"""Languages besides English; the voice of each has its name."""
_SENTENCES = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text("utf-8"))
_PLAIN = Delivery("", PACE, 50, 0.1, 0.7, 0.0)


@dataclass(frozen=True)
class SpokenText:
    """A text and how it is spoken."""

    text: str  # as it is written down
    language: str  # of two letters
    delivery: Delivery

    @property
    def id(self) -> str:
        return f"{zlib.crc32(self.text.encode()):08x}-{self.delivery.voice}"

    def by(self, voice: str) -> "SpokenText":
        return replace(self, delivery=replace(self.delivery, voice=voice))

    def at(self, speed: float) -> "SpokenText":
        """The same at PACE times `speed`."""
        return replace(self, delivery=replace(self.delivery, rate=round(PACE * speed)))


def spoken(seed: int, count: int, language: str = "en") -> list[SpokenText]:
    """At most `count` sentences of a language, in an order of the seed; English in six voices."""
    texts = list(_SENTENCES[language])
    random.Random(f"{seed}-{language}").shuffle(texts)
    voices = VOICES if language == "en" else (language,)
    return [
        SpokenText(text, language, replace(_PLAIN, voice=voices[number % len(voices)]))
        for number, text in enumerate(texts[:count])
    ]


def small_world(seed: int, count: int) -> list[SpokenText]:
    """Digits and commands in turn that the tiny model was not trained on, spoken as it knows them.

    They are without the light noise of some of its world, since noise is added here.
    """
    found = []
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        text = words.command(rng, True) if number % 2 else words.digits(rng, True)
        found.append(SpokenText(text, "en", replace(random_delivery(rng), noise=0.0)))
    return found


def say(utterance: SpokenText) -> Samples:
    """Speak: (n,) float32 at 16 kHz; raises Gemma4Error without espeak-ng or the voice."""
    text = " ".join(utterance.text) if utterance.text.isdigit() else utterance.text
    return with_espeak(lambda: speaker().say(text, utterance.delivery, random.Random(0)))
