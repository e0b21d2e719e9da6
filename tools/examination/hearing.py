"""Sounds for the examination: voices, what is around speech, and sounds without words."""

import io
import random
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mlx_gemma4.evaluate.sounds import mixing
from mlx_gemma4.evaluate.tiny.speech import OTHER_VOICES, VOICES, Delivery, speaker
from mlx_gemma4.media.audio import RATE, read_sound

FLITE = "rms"  # a voice that training leaves out
ASTERISK = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
SPHINX = Path("/usr/share/pocketsphinx/test/data")


def say(rng: random.Random, text: str, voices: tuple[str, ...] = VOICES) -> np.ndarray:
    """Speak as the first world did, without noise: (n,) at 16 kHz; digits one by one."""
    spoken = " ".join(text) if text.isdigit() else text
    how = Delivery(rng.choice(voices), rng.randint(145, 215), rng.randint(35, 65), 0.1, 0.7, 0)
    return speaker().say(spoken, how, rng)


def unheard(rng: random.Random, text: str) -> np.ndarray:
    """Speak in a voice that training never had: three of espeak-ng, one of flite."""
    if rng.random() < 0.25:
        return flite(" ".join(text) if text.isdigit() else text)
    return say(rng, text, OTHER_VOICES)


@cache
def flite(text: str) -> np.ndarray:
    """Speak by flite's command."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", FLITE, "-t", text, "-o", str(file)], check=True)
        return read_sound(file).samples


def quiet(rng: random.Random, speech: np.ndarray, most: float = 1.5) -> np.ndarray:
    """With up to so many seconds of quiet before and after it."""
    before, after = (int(rng.uniform(0, most) * RATE) for _ in range(2))
    return np.pad(speech, (before, after))


def noise(rng: random.Random, speech: np.ndarray) -> np.ndarray:
    """With half a second to 1.5 s before and after, in hum, a fan or babble of 15 to 25 dB."""
    source = np.random.default_rng(rng.randrange(2**32))
    wide = quiet(rng, speech)
    kind = rng.choice(("hum", "fan", "babble"))
    if kind == "hum":
        other = mixing.hum(len(wide), source)
    elif kind == "fan":
        other = np.cumsum(mixing.white(len(wide), source))
        other = other - np.convolve(other, np.ones(801) / 801, "same")
    else:
        other = _babble()[rng.randrange(RATE * 10) :][: len(wide)]
    return mixing.mix(wide, other.astype(np.float32), rng.uniform(15, 25))


def narrow(speech: np.ndarray) -> np.ndarray:
    """Through a telephone's 8 kHz."""
    return soxr.resample(soxr.resample(speech, RATE, 8000), 8000, RATE).astype(np.float32)


def mp3(speech: np.ndarray) -> np.ndarray:
    """Packed as MP3 and unpacked."""
    file = io.BytesIO()
    soundfile.write(
        file, speech, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.8
    )
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0])


def room(rng: random.Random, speech: np.ndarray) -> np.ndarray:
    """In a living room."""
    source = np.random.default_rng(rng.randrange(2**32))
    return mixing.reverberant(speech, rng.uniform(0.2, 0.4), source)


def nobody(rng: random.Random) -> np.ndarray:
    """Half a second to four of silence, noise, hum, a melody, a tone or somebody humming."""
    source = np.random.default_rng(rng.randrange(2**32))
    count = int(rng.uniform(0.5, 4) * RATE)
    time = np.arange(count) / RATE
    kind = rng.randrange(6)
    if kind == 0:
        return np.zeros(count, np.float32)
    if kind == 1:
        return rng.uniform(0.003, 0.1) * mixing.white(count, source)
    if kind == 2:
        return rng.uniform(0.01, 0.1) * mixing.hum(count, source)
    if kind == 3:  # a melody of plucked strings (K. Karplus and A. Strong, 1983)
        notes = [_pluck(source, rng.uniform(180, 700)) for _ in range(20)]
        tune = np.concatenate(notes)[:count]
        return (rng.uniform(0.1, 0.6) * tune).astype(np.float32)
    if kind == 4:
        return (rng.uniform(0.02, 0.5) * np.sin(2 * np.pi * rng.uniform(100, 2500) * time)).astype(
            np.float32
        )
    glide = rng.uniform(100, 260) * 2 ** (0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    voice = sum(np.sin(k * phase) * 0.5**k for k in range(1, 5))
    return (rng.uniform(0.1, 0.5) * np.asarray(voice)).astype(np.float32)


def human_digits(rng: random.Random, digits: str) -> np.ndarray:
    """Digits as one woman spoke them for asterisk, with short pauses between them."""
    parts = [np.zeros(int(0.15 * RATE), np.float32)]
    for digit in digits:
        parts += [
            recorded(f"digits/{digit}"),
            np.zeros(int(rng.uniform(0.05, 0.2) * RATE), np.float32),
        ]
    return 0.7 * np.concatenate(parts)


@cache
def recorded(name: str) -> np.ndarray:
    """A prompt of asterisk-core-sounds-en-g722: (n,) at 16 kHz, quiet at its ends cut off."""
    import av

    with av.open(str(ASTERISK / f"{name}.g722"), format="g722") as container:
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    samples = np.concatenate(parts).astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[loud[0] : loud[-1] + 1]
    return samples / np.abs(samples).max()


def sphinx() -> list[tuple[str, np.ndarray]]:
    """Numbers of pocketsphinx-testdata, with what is said in them as this model writes it."""
    found = []
    for name, text in (("tidigits/dhd.2934z", "29340"), ("goforward", "go forward ten meters")):
        samples = np.fromfile(SPHINX / f"{name}.raw", "<i2").astype(np.float32) / 32768
        found.append((text, samples / max(0.05, float(np.abs(samples).max())) * 0.7))
    return found


@cache
def _babble() -> np.ndarray:
    return mixing.babble(16 * RATE, 7)


def _pluck(source: np.random.Generator, hertz: float) -> np.ndarray:
    string = source.uniform(-1, 1, int(RATE / hertz))
    sound = np.empty(int(0.25 * RATE))
    for start in range(0, len(sound), len(string)):
        part = sound[start : start + len(string)]
        part[:] = string[: len(part)]
        string = 0.498 * (string + np.roll(string, 1))
    return sound
