"""An answer's sentences as sound: by `say` on a Mac, else by espeak-ng."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ...errors import Gemma4Error
from .session_object import RATE

WORDS_A_MINUTE = 180
"""At the speed 1."""
SECONDS = 30.0
"""The most seconds that speaking a sentence into a file may take."""
# OpenAI's voices: none is here, and a client that names one gets the default
OTHERS = frozenset(
    "default alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
)


def program() -> str | None:
    """Return the path of the program that speaks on this computer; None where there is none."""
    names = ("say",) if sys.platform == "darwin" else ("espeak-ng", "espeak")
    return next(filter(None, map(shutil.which, names)), None)


def command(speaker: str, voice: str, speed: float, file: str) -> list[str]:
    """Return the command that speaks what it reads from stdin into a wav file."""
    rate = str(round(WORDS_A_MINUTE * speed))
    named = [] if voice in OTHERS else ["-v", voice]
    if Path(speaker).name == "say":
        sound = ["--file-format=WAVE", f"--data-format=LEI16@{RATE}"]
        return [speaker, *named, "-r", rate, "-o", file, *sound, "-f", "-"]
    return [speaker, *named, "-s", rate, "-w", file, "--stdin"]


async def spoken(text: str, voice: str, speed: float) -> bytes:
    """Speak a sentence as 16-bit PCM of 24 kHz; when this is cancelled, the program is ended.

    Raises:
        Gemma4Error: nothing speaks on this computer, or it does not have this voice.
    """
    speaker = program()
    if speaker is None:
        raise _failed("This computer has no voice")
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "spoken.wav")
            await _run(command(speaker, voice, speed, str(file)), text)
            samples, rate = await asyncio.to_thread(soundfile.read, file, dtype="float32")
    except (OSError, ValueError, soundfile.LibsndfileError) as error:
        raise _failed(str(error)) from error
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    sound = np.clip(soxr.resample(mono, rate, RATE), -1, 1)
    return bytes((sound * 32767).astype("<i2").tobytes())


async def _run(words: Sequence[str], text: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(text.encode()), SECONDS)
    except TimeoutError:
        raise _failed(f"{words[0]} took longer than {SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        message = said.decode(errors="replace").strip()
        raise _failed(f"{words[0]}: {message or f'status {process.returncode}'}")


def _failed(cause: str) -> Gemma4Error:
    cause = f"{cause.rstrip('.')}."
    return Gemma4Error(
        "voice_failed", "The answer cannot be spoken", cause, "Choose another voice, or text."
    )
