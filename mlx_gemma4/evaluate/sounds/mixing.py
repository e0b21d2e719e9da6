"""What is heard: who speaks what by espeak-ng, and what is between a mouth and an ear."""

import random
import tomllib
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from ...media.audio import RATE, Samples
from ..tiny import speech, words
from ..tiny.speech import VOICES, Delivery, random_delivery

PACE = 175
"""Words a minute at speed 1: espeak-ng's own default (its `--help`)."""
LANGUAGES = ("de", "fr", "es", "it", "pt", "nl")
"""Languages besides English; the voice of each has its name."""
_SENTENCES = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text("utf-8"))
_PLAIN = Delivery("", PACE, 50, 0.1, 0.7, 0.0)
TALKERS = 6
"""Voices of a babble: few enough to be speech, too many to follow one."""
_BLOCK = RATE // 50  # 20 ms
_ACTIVE = 1e-4  # of the loudest block's power: 40 dB below it is a pause
_EARLY = RATE // 400  # 2.5 ms: the direct sound


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
    return speech.say(utterance.text, utterance.delivery, random.Random(0))


def white(count: int, rng: np.random.Generator) -> Samples:
    """White noise: (count,) of power 1."""
    noise: Samples = rng.standard_normal(count, np.float32)
    return noise


def babble(count: int, seed: int) -> Samples:
    """Several people who talk without a pause, all equally loud: (count,)."""
    rng = random.Random(seed)
    sum_ = np.zeros(count, np.float32)
    lines = spoken(seed, 60)
    for talker in range(TALKERS):
        said = lines[talker::TALKERS]
        parts: list[Samples] = []
        while sum(map(len, parts)) < count + RATE:
            part = say(said[len(parts) % len(said)].by(said[0].delivery.voice))
            parts.append(part / np.sqrt(power(part)))
        stream, start = np.concatenate(parts), rng.randrange(RATE)
        sum_ += stream[start : start + count]
    return sum_


def hum(count: int, rng: np.random.Generator) -> Samples:
    """The hum of a 50 Hz mains: it and its first five harmonics, each half as loud; (count,)."""
    time = np.arange(count) / RATE
    tones = [
        0.5**k * np.sin(2 * np.pi * 50 * (k + 1) * time + rng.uniform(0, 2 * np.pi))
        for k in range(6)
    ]
    mains: Samples = np.sum(tones, axis=0).astype(np.float32)
    return mains


def power(samples: Samples) -> float:
    """Mean power of what is spoken: of the blocks of 20 ms within 40 dB of the loudest.

    Pauses are left out, so that a lead of silence does not make speech quieter; ITU-T P.56 does
    the same with a finer rule.
    """
    whole = np.pad(samples, (0, -len(samples) % _BLOCK)).reshape(-1, _BLOCK)
    blocks = np.square(whole, dtype=np.float64).mean(axis=1)
    return float(blocks[blocks >= blocks.max() * _ACTIVE].mean())


def mix(speech: Samples, noise: Samples, snr: float) -> Samples:
    """Speech in noise `snr` dB below it: (n,), scaled to a peak of 0.9 as a whole."""
    wanted = power(speech) / 10 ** (snr / 10)
    noise = noise[: len(speech)] * np.sqrt(wanted / float(np.square(noise).mean()))
    return _scaled(speech + noise)


def reverberant(speech: Samples, rt60: float, rng: np.random.Generator) -> Samples:
    """Speech in a room: the direct sound, and as much power again from the walls.

    The response is J.-D. Polack's statistical model (La transmission de l'énergie sonore dans les
    salles, thesis, Le Mans 1988; also H. Kuttruff, Room Acoustics): white noise under an
    exponential that falls by 60 dB in `rt60` seconds: 0.3 is a living room, 1.0 a church hall.
    (n,) -> (n + rt60 * 16000,), with the tail to its end; peak 0.9.
    """
    time = np.arange(round(rt60 * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail[:_EARLY] = 0
    tail /= np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return _scaled(fftconvolve(speech, tail).astype(np.float32))


def together(one: SpokenText, other: SpokenText, overlap: float) -> Samples:
    """Two people, equally loud, who both speak for this share of the shorter one."""
    first, second = (part / np.sqrt(power(part)) for part in map(say, (one, other)))
    start = len(first) - round(overlap * min(len(first), len(second)))
    both = np.zeros(max(len(first), start + len(second)), np.float32)
    both[: len(first)] += first
    both[start : start + len(second)] += second
    return _scaled(both)


def _scaled(samples: Samples) -> Samples:
    return (samples * np.float32(0.9 / np.abs(samples).max())).astype(np.float32)
