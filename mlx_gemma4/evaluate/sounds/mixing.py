"""What is between a mouth and an ear: noise, other voices, a room."""

import random

import numpy as np
from scipy.signal import fftconvolve

from ...media.audio import RATE, Samples
from .voices import SpokenText, say, spoken

TALKERS = 6
"""Voices of a babble: few enough to be speech, too many to follow one."""
_BLOCK = RATE // 50  # 20 ms
_ACTIVE = 1e-4  # of the loudest block's power: 40 dB below it is a pause
_EARLY = RATE // 400  # 2.5 ms: the direct sound


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
