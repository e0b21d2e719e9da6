"""Sounds as a rival's process reads them: with nothing but Python."""

import wave


def pcm(file: str) -> bytes:
    """The samples of a WAV file that `rival.py` wrote: 16 kHz, mono, int16, little-endian."""
    with wave.open(file) as sound:
        samples: bytes = sound.readframes(sound.getnframes())
    return samples
