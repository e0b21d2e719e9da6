"""Voices of the small world: espeak-ng in this process, at 16 kHz."""

import ctypes
import ctypes.util
import functools
import random
from dataclasses import dataclass

import numpy as np
import soxr

from ...errors import Gemma4Error

VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-rp+f2")
OTHER_VOICES = ("en-029", "en-us+f4", "en-us+m7")
_RATE, _PITCH = 1, 3  # espeak_PARAMETER in speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Delivery:
    """How a sentence is spoken: words a minute, pitch 0 to 99, silence before it in seconds."""

    voice: str
    rate: int
    pitch: int
    lead: float
    gain: float
    noise: float


def random_delivery(rng: random.Random, voices: tuple[str, ...] = VOICES) -> Delivery:
    """Any voice, speed, loudness and offset of the world."""
    return Delivery(
        voice=rng.choice(voices),
        rate=rng.randint(145, 215),
        pitch=rng.randint(35, 65),
        lead=rng.uniform(0.0, 0.3),
        gain=rng.uniform(0.3, 1.0),
        noise=rng.choice((0.0, 0.0, 0.002, 0.005)),
    )


class Speaker:
    """espeak-ng through its C library, which has one callback a process: get it from `speaker`."""

    def __init__(self) -> None:
        found = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self._library = ctypes.CDLL(found)
        retrieve = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come to the callback
        self.native_rate = self._library.espeak_Initialize(retrieve, 0, None, 0)
        self._parts: list[np.ndarray] = []
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, delivery: Delivery, rng: random.Random) -> np.ndarray:
        """Speak text: float32 samples (n,) at 16 kHz in [-1, 1]."""
        if self._library.espeak_SetVoiceByName(delivery.voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {delivery.voice}")
        self._library.espeak_SetParameter(_RATE, delivery.rate, 0)
        self._library.espeak_SetParameter(_PITCH, delivery.pitch, 0)
        self._parts.clear()
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
        self._library.espeak_Synchronize()
        spoken = np.concatenate(self._parts).astype(np.float32) / 32768
        spoken = soxr.resample(spoken, self.native_rate, 16000)
        lead = np.zeros(int(delivery.lead * 16000), np.float32)
        samples = np.concatenate([lead, spoken]) * delivery.gain
        if delivery.noise:
            source = np.random.default_rng(rng.randrange(2**32))
            samples = samples + delivery.noise * source.standard_normal(len(samples), np.float32)
        return np.clip(samples, -1, 1).astype(np.float32)

    def _take(self, samples, count, _events) -> int:  # type: ignore[no-untyped-def]
        if count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@functools.cache
def speaker() -> Speaker:
    """The one speaker of this process."""
    return Speaker()


def say(text: str, delivery: Delivery, rng: random.Random) -> np.ndarray:
    """Speak text, digits one by one: float32 samples (n,) at 16 kHz.

    Raises Gemma4Error where espeak-ng or its voice is missing.
    """
    try:
        return speaker().say(" ".join(text) if text.isdigit() else text, delivery, rng)
    except (OSError, ValueError) as error:
        raise Gemma4Error(
            "voice_missing",
            "No voice can be made",
            f"The library of espeak-ng cannot be used: {error}.",
            "Install it: apt install espeak-ng, or brew install espeak-ng. Sounds of your own "
            "(--folder) do without it.",
        ) from error
