"""Sounds as a rival's process reads them."""

import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pcm(file: str) -> bytes:
    """The samples of a WAV file that `rival.py` wrote: 16 kHz, mono, int16, little-endian."""
    with wave.open(file) as sound:
        samples: bytes = sound.readframes(sound.getnframes())
    return samples


def samples(file: str) -> "NDArray[np.float32]":
    """The same as (n,) numbers in [-1, 1), for a rival that has numpy."""
    import numpy as np

    return np.frombuffer(pcm(file), "<i2").astype(np.float32) / np.float32(32768)
