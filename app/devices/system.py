"""The devices around the program, each as a function, so that tests can replace it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.runtime.live import Gate, SoundSource

from ..state import ScreenArea
from . import machine as this_machine
from . import screen
from . import voices as speaking
from .screen import Shot


def microphone(device: str) -> SoundSource:
    """Open the microphone, by a part of its name; empty for the system's own choice."""
    from mlx_gemma4.capture.microphone import Microphone

    return Microphone(device or None)


def gate(hands_free: bool, stop_after: float) -> Gate:
    """Make the gate that decides what is recorded: hands-free, only what is spoken.

    Else everything is, for a key was pressed, until `stop_after` seconds of silence follow speech;
    with 0 it never ends so.
    """
    from mlx_gemma4.capture.speechgate import SpeechGate

    if hands_free:
        return SpeechGate()
    return SpeechGate(closes_after=stop_after or math.inf, waits=False)


@dataclass(frozen=True)
class Devices:
    """The outside world: each as the function that it has here; `now` is in seconds since 1970."""

    microphone: Callable[[str], SoundSource] = microphone
    gate: Callable[[bool, float], Gate] = gate
    capture: Callable[[ScreenArea], Shot | None] = screen.capture
    clipboard: Callable[[], Shot | list[Path] | str | None] = screen.clipboard
    voice: Callable[[str, int], list[str]] = speaking.command
    voices: Callable[[], list[speaking.SystemVoice]] = speaking.voices
    machine: Callable[[], Machine | None] = this_machine.machine
    findings: Callable[[], list[this_machine.DoctorFinding]] = this_machine.findings
    now: Callable[[], float] = time.time
