"""Synthetic voices in this process: espeak-ng's and flite's libraries, at 16 kHz.

Their folder can be named by SPEECH_LIBRARIES, for machines on which they are not installed.
"""

import ctypes
import functools
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

ESPEAK = (
    "en-us", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+m1", "en-us+m2", "en-us+m3", "en-us+m4",
    "en-us+m6", "en-us+klatt", "en-us+klatt2", "en-us+klatt4", "en-us+linda", "en-us+michael",
    "en-us+steph", "en-us+quincy", "en", "en+f5", "en+m5", "en-gb-x-rp", "en-gb-x-rp+f2",
    "en-gb-scotland", "en-gb-scotland+f3", "en-gb-x-gbclan", "en-gb-x-gbclan+f1", "en-gb-x-gbcwmd",
)  # fmt: skip
FLITE = ("slt", "awb", "kal16")
UNHEARD = ("en-029", "en-us+f4", "en-us+m7", "rms")
_FLITE = (*FLITE, "rms")
_RATE, _PITCH = 1, 3  # espeak_PARAMETER in speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Delivery:
    """Who speaks: words a minute, pitch 0 to 99 (of espeak-ng alone)."""

    voice: str
    rate: int = 170
    pitch: int = 50


def delivery(rng: random.Random, voices: tuple[str, ...] = (*ESPEAK, *FLITE * 2)) -> Delivery:
    """Any voice and pace of the world."""
    return Delivery(rng.choice(voices), rng.randint(130, 230), rng.randint(25, 75))


def speak(text: str, how: Delivery) -> np.ndarray:
    """Speak text: float32 samples (n,) at 16 kHz in [-1, 1], without silence around it."""
    spoken = _flite(text, how) if how.voice in _FLITE else _espeak().speak(text, how)
    loud = np.flatnonzero(np.abs(spoken) > 0.003)
    return spoken[loud[0] : loud[-1] + 1] if len(loud) else spoken[:0]


class _Espeak:
    """espeak-ng through its C library, which has one callback a process."""

    def __init__(self) -> None:
        folder = os.environ.get("SPEECH_LIBRARIES", "")
        self._library = _library("libespeak-ng.so.1")
        data = folder.encode() if folder else None
        retrieve = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come to the callback
        self._native = self._library.espeak_Initialize(retrieve, 0, data, 0)
        if self._native <= 0:
            raise OSError("espeak-ng's data was not found")
        self._parts: list[np.ndarray] = []
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, how: Delivery) -> np.ndarray:
        if self._library.espeak_SetVoiceByName(how.voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {how.voice}")
        self._library.espeak_SetParameter(_RATE, how.rate, 0)
        self._library.espeak_SetParameter(_PITCH, how.pitch, 0)
        self._parts.clear()
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
        self._library.espeak_Synchronize()
        if not self._parts:
            return np.zeros(0, np.float32)
        return _at_16k(np.concatenate(self._parts), self._native)

    def _take(self, samples, count, _events) -> int:  # type: ignore[no-untyped-def]
        if count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("samples", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_short)),
    ]


def _flite(text: str, how: Delivery) -> np.ndarray:
    library, voice = _flite_library(), _flite_voice(how.voice)
    library.feat_set_float(voice.contents.features, b"duration_stretch", 170 / how.rate)
    wave = library.flite_text_to_wave(text.encode(), voice)
    try:
        samples = np.ctypeslib.as_array(wave.contents.data, (wave.contents.samples,)).copy()
        return _at_16k(samples, wave.contents.rate)
    finally:
        library.delete_wave(wave)


@functools.cache
def _flite_library() -> ctypes.CDLL:
    library = _library("libflite.so.1")
    library.flite_init()
    library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
    library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Voice)]
    library.delete_wave.argtypes = [ctypes.POINTER(_Wave)]
    library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
    return library


@functools.cache
def _flite_voice(name: str):  # type: ignore[no-untyped-def]
    for part in ("usenglish", "cmulex"):
        _library(f"libflite_{part}.so.1")
    register = getattr(_library(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.restype = ctypes.POINTER(_Voice)
    register.argtypes = [ctypes.c_char_p]
    return register(None)


def _library(name: str) -> ctypes.CDLL:
    folder = os.environ.get("SPEECH_LIBRARIES")
    return ctypes.CDLL(str(Path(folder) / name) if folder else name, ctypes.RTLD_GLOBAL)


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()


def _at_16k(samples: np.ndarray, rate: int) -> np.ndarray:
    spoken = samples.astype(np.float32) / 32768
    if rate == 16000:
        return spoken
    step = int(np.gcd(rate, 16000))
    return resample_poly(spoken, 16000 // step, rate // step).astype(np.float32)
