"""What threads tell the screens, and screens each other."""

import numpy as np
from numpy.typing import NDArray
from textual.message import Message

from mlx_gemma4.runtime.reports import Report

from .devices.screen import Shot
from .state import Problem


class Reports(Message):
    """What the engine has told, in order: many at once, for it may tell thousands a second."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__()
        self.reports = reports


class Opened(Message):
    """The microphone is there, and its first block has come."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device


class Frames(Message):
    """Sound from the microphone.

    Args:
        frames: (n, 640) of 16 kHz; n is 0 where nothing is spoken, in hands-free.
        level: of it, in dB of full scale.
    """

    def __init__(self, frames: NDArray[np.float32], level: float) -> None:
        super().__init__()
        self.frames, self.level = frames, level


class Paused(Message):
    """Somebody has spoken and is silent now: the recording can be sent."""


class Lost(Message):
    """The microphone could not be opened, or has gone; nothing more comes from it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class Silent(Message):
    """The microphone gives only zeros; it is still being recorded."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class Seen(Message):
    """The screen that is watched has changed; `at` is in seconds, since some time or other."""

    def __init__(self, shot: Shot, at: float) -> None:
        super().__init__()
        self.shot, self.at = shot, at


class Blind(Message):
    """The screen cannot be watched any more."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class Getting(Message):
    """What a download or conversion of a model tells; None at its end."""

    def __init__(self, words: str | None) -> None:
        super().__init__()
        self.words = words


class SpeakerChanged(Message):
    """Reading aloud has begun, ended, or met a problem."""
