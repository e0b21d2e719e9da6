"""The microphone, the gate that tells speech from the rest, and what is shown of both."""

import math
from dataclasses import dataclass

from mlx_gemma4.runtime.live import Gate, SoundSource
from mlx_gemma4.runtime.reports import Failed


@dataclass(frozen=True)
class MicrophoneOpened:
    """The microphone is open."""

    device: str


@dataclass(frozen=True)
class LevelChanged:
    """How loud it is, in dB of full scale."""

    level: float


@dataclass(frozen=True)
class SilenceChanged:
    """The microphone delivers only zeros now, or not any more."""

    silent: bool


@dataclass(frozen=True)
class MicrophoneLost:
    """The microphone could not be opened, or has gone; nothing more comes from it."""

    failed: Failed


VoiceEvent = MicrophoneOpened | LevelChanged | SilenceChanged | MicrophoneLost


def microphone(device: str) -> SoundSource:
    """Open the microphone, by a part of its name."""
    from mlx_gemma4.capture.microphone import Microphone

    return Microphone(device or None)


def gate(hands_free: bool, stop_after: float) -> Gate:
    """Make the gate.

    Args:
        hands_free: only what is spoken passes; else everything does, for a key was pressed.
        stop_after: seconds of silence after speech that end a recording; 0: it never ends so.
    """
    from mlx_gemma4.capture.speechgate import SpeechGate

    if hands_free:
        return SpeechGate()
    return SpeechGate(closes_after=stop_after or math.inf, waits=False)
