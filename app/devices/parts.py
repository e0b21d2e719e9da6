"""What the program has around it, each as a function, so that tests can give it others."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_gemma4.cli.doctor import Finding
from mlx_gemma4.footprint.estimate import Machine

from .. import computer
from . import recording, screen, speech
from .screen import Shot
from .screen_area import What


@dataclass(frozen=True)
class Devices:
    """The outside world.

    Attributes:
        microphone: opens one, by a part of its name.
        gate: makes what tells speech from the rest.
        capture: takes a picture of the screen; None where the user cancelled.
        clipboard: gives its picture or files.
        voice: the command that speaks, for a voice and a rate.
        machine: what a model may take here; None where that is not known.
        findings: what the doctor says.
        now: seconds since 1970.
    """

    microphone: Callable[[str], recording.Source] = recording.microphone
    gate: Callable[[], recording.Gate] = recording.gate
    capture: Callable[[What], Shot | None] = screen.capture
    clipboard: Callable[[], Shot | list[Path] | None] = screen.clipboard
    voice: Callable[[str, int], list[str]] = speech.command
    machine: Callable[[], Machine | None] = computer.machine
    findings: Callable[[], list[Finding]] = computer.findings
    now: Callable[[], float] = time.time
