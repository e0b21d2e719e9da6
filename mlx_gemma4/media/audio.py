"""Sound to frames: open, mix down, resample to 16 kHz, cut into 640-sample frames of 40 ms.

Knows nothing of MLX or of the model: its output is plain numpy. The frame rule is that of
transformers 5.23 `models/gemma4_unified/feature_extraction_gemma4_unified.py`.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..errors import Gemma4Error
from .samples import FRAME as FRAME
from .samples import RATE as RATE
from .samples import Frames as Frames
from .samples import Samples as Samples
from .samples import bounded, mono, need_rate
from .sound_files import Recording as Recording
from .sound_files import read_sound as read_sound
from .sound_files import seconds_of as seconds_of
from .sources import Source

LIMIT_SECONDS = 30.0
"""The longest clip the model was made for (model card): 750 frames."""

_QUIET = 5  # frames (200 ms) of a pause


def frames(samples: ArrayLike, rate: float = RATE) -> Samples:
    """Cut raw sound into frames (n, 640) float32; the last one is padded with zeros.

    What it may be, and errors, are those of `to_mono16k`.
    """
    mono = to_mono16k(samples, rate)
    return np.pad(mono, (0, -len(mono) % FRAME)).reshape(-1, FRAME)


def to_mono16k(samples: ArrayLike, rate: float) -> Samples:
    """Make mono float32 at 16 kHz in [-1, 1] of raw sound.

    Args:
        samples: (n,), (n, channels) or (channels, n): the shorter side is the channels. Integers
            are scaled by their type; uint8 is centred on 128, as in wav files.
        rate: samples a second, 1,000 to 768,000.

    Returns:
        (m,) float32. Channels are averaged; where they cancel each other out, the loudest is
        kept. The few samples that go beyond [-1, 1] are clipped, and where many do, all are scaled
        down: the model normalises every frame.

    Raises:
        Gemma4Error: if it is empty, not finite, of an unknown type or shape, or of an absurd rate.
    """
    try:
        array = np.asarray(samples)
        cause = "" if array.ndim in (1, 2) else f"Its shape is {array.shape}."
    except ValueError as error:  # lists of different lengths
        cause = f"It is no array: {error}."
    if cause:
        raise Gemma4Error(
            "sound_malformed",
            "The sound has a wrong shape",
            cause,
            "Use one number a sample, or two dimensions: samples and channels.",
        )
    need_rate(rate)
    single = mono(array)
    if rate != RATE and single.size:
        import soxr

        single = soxr.resample(single, rate, RATE).astype(np.float32)
    if single.size == 0:
        raise Gemma4Error(
            "sound_empty",
            "The sound is empty",
            "It has no samples, or too few to make one at 16 kHz.",
            "Use a recording that is not empty.",
        )
    return bounded(single)[0]


def open_sound(source: Source) -> Samples:
    """Open a sound as mono float32 at 16 kHz: `read_sound` without its notes."""
    return read_sound(source).samples


def clips(
    samples: Samples,
    limit_seconds: float = LIMIT_SECONDS,
    long: Literal["refuse", "split"] = "refuse",
) -> list[Samples]:
    """Make clips no longer than the limit; together they hold every sample, in order.

    Args:
        samples: (n,) mono at 16 kHz.
        long: what to do with more: "refuse" raises, "split" cuts at the quietest place of the
            second half of each clip.

    Raises:
        Gemma4Error: if the sound is longer than the limit and `long` is "refuse".
    """
    limit = int(limit_seconds * RATE)
    if len(samples) > limit and long != "split":
        raise Gemma4Error(
            "sound_too_long",
            "The sound is too long",
            f"It lasts {len(samples) / RATE:.1f} s; the model hears at most {limit_seconds:g} s "
            "in one clip.",
            "Shorten it, or have it split into clips at its pauses (--split-audio).",
        )
    parts = []
    while len(samples) > limit:
        whole = limit // FRAME
        grid = samples[: whole * FRAME].reshape(whole, FRAME)
        cut = pause(grid, whole // 2) * FRAME
        parts.append(samples[:cut])
        samples = samples[cut:]
    return [*parts, samples]


def pause(frames: Samples, start: int) -> int:
    """Find the frame in the middle of the last and quietest 200 ms from `start` on.

    Of `frames` (n, 640); where less than 200 ms follow, a frame is enough.
    """
    energy = np.square(frames[start:]).sum(axis=1)
    width = _QUIET if len(energy) >= _QUIET else 1
    windows = np.convolve(energy, np.ones(width), "valid")
    return start + len(windows) - 1 - int(np.argmin(windows[::-1])) + width // 2


def need_frames(frames: ArrayLike) -> None:
    """Refuse what is no frames (n, 640) with n of 1 or more."""
    shape = np.shape(frames)
    if len(shape) != 2 or shape[1] != FRAME or not shape[0]:
        raise Gemma4Error(
            "frames_malformed",
            "The frames have a wrong shape",
            f"Their shape is {shape}.",
            f"Pass (n, {FRAME}) with n of 1 or more; `media.audio.frames` makes them.",
        )
