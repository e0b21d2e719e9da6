"""Raw sound as numbers: scaled by their type, mixed down, kept within [-1, 1]."""

from collections import Counter
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error

RATE = 16_000
"""Samples a second that the model hears."""
FRAME = 640
"""Samples in a frame: 40 ms; one frame is one token."""

Samples = NDArray[np.float32]
Frames = NDArray[np.float32]
"""(n, 640): sound as the model takes it."""

_STRETCH = 1024  # samples that are mixed alike: 21 to 64 ms
_FADE = 256  # samples before and after a border of such stretches
_LOUD = 0.01  # a sound of which more than this share is beyond full scale is too loud as a whole
_NOTABLE = 1.25  # what a compressed file goes beyond full scale by, at most


class Mixer:
    """Mixes blocks of several channels down to one; where they cancel each other, one is kept.

    Attributes:
        peak: the largest of the samples that were clipped; 0 where none was.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._channel = 0  # that was kept last: another one may have the opposite sign
        self._energy = 0.0  # mean of the channels
        self._kept: Counter[int] = Counter()  # its part where only this channel was kept

    def add(self, block: Samples) -> Samples:
        """Mix a block (n, channels) -> (n,). Raises Gemma4Error where it is not finite."""
        if not np.isfinite(block).all():
            raise Gemma4Error(
                "sound_damaged",
                "The sound is damaged",
                "It holds values that are not numbers (NaN or infinity).",
                "Record or export it again.",
            )
        block = self._without_clicks(block)
        if block.shape[1] == 1:
            return block[:, 0]
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        starts = np.arange(0, len(block), _STRETCH)
        mixed = np.add.reduceat(np.square(mono, dtype=np.float64), starts)
        energies = np.add.reduceat(np.square(block, dtype=np.float64), starts)  # (m, channels)
        means = energies.mean(axis=1)
        self._energy += float(means.sum())
        # channels that have nothing in common leave 1 / channels of their mean energy
        cancelled = np.flatnonzero(mixed < 0.1 * means / block.shape[1])
        if not len(cancelled):
            return mono
        kept, weight = mono.copy(), np.zeros(len(mono), np.float32)
        for stretch in cancelled:
            own = energies[stretch]
            if self._channel >= len(own) or own[self._channel] < 0.5 * own.max():
                self._channel = int(np.argmax(own))
            start = starts[stretch]
            wide = slice(max(0, start - _FADE), start + _STRETCH + _FADE)
            kept[wide] = block[wide, self._channel]
            weight[start : start + _STRETCH] = 1
            self._kept[self._channel] += means[stretch]
        return mono + _faded(weight) * (kept - mono)

    def _without_clicks(self, block: Samples) -> Samples:
        """Clip a few samples far beyond all others, which a resampler would spread."""
        size = np.abs(block)
        peak = float(size.max(initial=0.0))
        if peak <= 1:
            return block
        level = max(1.0, 4 * float(np.quantile(size, 1 - _LOUD)))
        if peak > level:
            self.peak = max(self.peak, peak)
        return np.clip(block, -level, level)

    @property
    def note(self) -> str:
        """A sentence, where channels cancelled each other in what can be heard; else empty."""
        share = self._kept.total() / self._energy if self._kept else 0.0
        if share < 0.01:
            return ""
        where, there = ("", "") if share > 0.99 else (" in a part of it", " there")
        channel = max(self._kept, key=self._kept.__getitem__) + 1
        return f"Its channels cancel each other out{where}: only channel {channel} is used{there}."


def _faded(weight: Samples) -> Samples:
    """Go from 0 to 1 and back over 2 * _FADE samples: a step would click."""
    sums = np.cumsum(np.pad(weight, (_FADE + 1, _FADE), mode="edge"), dtype=np.float64)
    faded: Samples = ((sums[2 * _FADE :] - sums[: -2 * _FADE]) / (2 * _FADE)).astype(np.float32)
    return faded[: len(weight)]


def mono(array: NDArray[np.generic]) -> Samples:
    """Mix an array (n,), (n, channels) or (channels, n) down; the shorter side is the channels."""
    samples = np.atleast_2d(scaled(array))
    if samples.shape[0] <= samples.shape[1]:
        samples = samples.T
    return Mixer().add(samples) if samples.size else samples.reshape(-1)


def bounded(samples: Samples, peak: float = 0.0) -> tuple[Samples, str]:
    """Bring samples into [-1, 1], with a note where that can be heard.

    A few that go beyond are clipped: scaled to a click, all else would become too quiet to be
    understood. Where many do, all are scaled first. `peak` is that of samples clipped before.
    """
    size = np.abs(samples)
    peak = max(peak, float(size.max(initial=0.0)))
    if peak <= 1:
        return samples, ""
    if float((size > 1).mean()) <= _LOUD:
        note = f"Samples up to {peak:.3g} were clipped to 1." if peak > _NOTABLE else ""
        return np.clip(samples, -1, 1), note
    level = max(1.0, float(np.quantile(size, 1 - _LOUD / 10)))
    note = f"It is {level:.3g} times too loud and was scaled down." if level > _NOTABLE else ""
    return np.clip(samples / np.float32(level), -1, 1), note


def scaled(array: NDArray[np.generic]) -> Samples:
    """Bring integers to [-1, 1] by their type's range; floats stay as they are."""
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if array.dtype in (np.int8, np.int16, np.int32):
        full_scale = 1 << (8 * array.dtype.itemsize - 1)
        return (array.astype(np.float64) / full_scale).astype(np.float32)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise Gemma4Error(
        "sound_malformed",
        "The sound has a wrong type",
        f"Its samples are {array.dtype}.",
        "Use floats from -1 to 1, or int16, int32, int8 or uint8.",
    )


def need_rate(rate: float) -> None:
    """Raise Gemma4Error for a sample rate that cannot be."""
    if not isinstance(rate, Real) or not 1_000 <= rate <= 768_000:
        raise Gemma4Error(
            "sample_rate_unusable",
            "The sample rate is not usable",
            f"It is {rate} samples a second.",
            "Use the rate at which the sound was recorded, 1,000 to 768,000.",
        )
