"""A thread that reads the microphone: frames as they come, and when somebody stopped speaking.

The microphone is opened here too, which takes a while.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.capture.speechgate import CLOSES_AFTER

from ..state import Problem
from ..threads import run_thread
from . import permissions

WAIT = 0.1
"""Seconds to wait for frames, so that it ends soon when it is told to."""
SETTLED, DEAD = 0.5, 0.2
"""Seconds after the first block from which on, and of exact zeros after which, it is dead."""

NOTHING = np.zeros((0, 640), np.float32)


@dataclass(frozen=True)
class MicrophoneOpened:
    """The microphone is there, and its first block has come."""

    device: str


@dataclass(frozen=True, eq=False)
class FramesRecorded:
    """Sound from the microphone.

    Attributes:
        frames: (n, 640) of 16 kHz; n is 0 where nothing is spoken, in hands-free.
        level: of it, in dB of full scale.
    """

    frames: NDArray[np.float32]
    level: float


@dataclass(frozen=True)
class SpeechPaused:
    """Somebody has spoken and is silent now: the recording can be sent."""


@dataclass(frozen=True)
class MicrophoneLost:
    """The microphone could not be opened, or has gone; nothing more comes from it."""

    problem: Problem


@dataclass(frozen=True)
class MicrophoneSilent:
    """The microphone gives only zeros; it is still being recorded."""

    problem: Problem


MicrophoneEvent = (
    MicrophoneOpened | FramesRecorded | SpeechPaused | MicrophoneLost | MicrophoneSilent
)


class MicrophoneSource(Protocol):
    """What is read: `capture.microphone.Microphone`."""

    name: str
    level: float

    @property
    def silent_seconds(self) -> float:
        """For how long every sample has been exactly zero."""

    def read(self, timeout: float) -> NDArray[np.float32]:
        """Give the frames (n, 640) that have come."""

    def close(self) -> None:
        """Let go of the device."""


class Gate(Protocol):
    """What tells speech from the rest: `capture.speechgate.SpeechGate`."""

    open: bool

    def shut(self) -> None:
        """Close it and forget what came before."""

    def add(self, frames: NDArray[np.float32]) -> list[NDArray[np.float32] | None]:
        """Give what is speech, and None where an utterance ends."""


def microphone(device: str) -> MicrophoneSource:
    """Open the microphone."""
    from mlx_gemma4.capture.microphone import Microphone

    return Microphone(device or None)


def gate() -> Gate:
    """Make the gate."""
    from mlx_gemma4.capture.speechgate import SpeechGate

    return SpeechGate()


class Listener:
    """Listens from when it is made until `close`.

    Args:
        tell: called, from the thread, with what happens.
        hands_free: only what is spoken is given, and each utterance ends by itself.
        stop_after: seconds of silence after speech that end a recording; 0: it never ends so.
        device: part of the microphone's name.

    Attributes:
        shut: nothing is heard while this is true: the program itself speaks.
    """

    def __init__(
        self,
        tell: Callable[[MicrophoneEvent], object],
        hands_free: bool,
        stop_after: float,
        device: str = "",
        open_source: Callable[[str], MicrophoneSource] = microphone,
        make_gate: Callable[[], Gate] = gate,
    ) -> None:
        self.shut = False
        self.hands_free = hands_free
        self._tell = tell
        self._stop_after = stop_after
        self._device = device
        self._open, self._make_gate = open_source, make_gate
        self._closing = threading.Event()
        run_thread("listener", self._run, self._fail)

    def close(self) -> None:
        """End, without waiting for it."""
        self._closing.set()

    def _run(self) -> None:
        source = self._open(self._device)
        try:
            self._listen(source)
        finally:
            source.close()

    def _fail(self, error: Exception) -> None:
        self._say(MicrophoneLost(Problem.of(error)))

    def _listen(self, source: MicrophoneSource) -> None:
        detector = self._make_gate() if self.hands_free or self._stop_after else None
        first, quiet_since, warned = 0.0, 0.0, False
        held: list[NDArray[np.float32]] = []
        while not self._closing.is_set():
            frames = source.read(WAIT)
            now = time.monotonic()
            if not len(frames):
                continue
            if not first:
                first = now
                self._say(MicrophoneOpened(source.name))
            if source.silent_seconds < DEAD:
                warned = False
            elif not warned and now - first > SETTLED:
                warned = True
                self._say(MicrophoneSilent(Problem.of(permissions.microphone(source.name))))
            if self.hands_free and detector is not None:
                self._pass_speech(detector, frames, source.level)
                continue
            passed = detector.add(frames) if detector is not None else []
            if passed or (detector is not None and detector.open):
                quiet_since = 0.0
            if quiet_since:  # it may be the silence that ends it, which nobody needs to hear
                held.append(frames)
                self._say(FramesRecorded(NOTHING, source.level))
            else:
                self._say(FramesRecorded(np.concatenate([*held, frames]), source.level))
                held.clear()
            if passed and passed[-1] is None:
                quiet_since = now - CLOSES_AFTER
            if quiet_since and now - quiet_since >= self._stop_after:
                quiet_since = 0.0
                self._say(SpeechPaused())

    def _pass_speech(self, detector: Gate, frames: NDArray[np.float32], level: float) -> None:
        if self.shut:
            detector.shut()
            self._say(FramesRecorded(NOTHING, level))
            return
        passed = detector.add(frames)
        if not passed:
            self._say(FramesRecorded(NOTHING, level))
        for speech in passed:
            self._say(SpeechPaused() if speech is None else FramesRecorded(speech, level))

    def _say(self, event: MicrophoneEvent) -> None:
        if not self._closing.is_set():
            self._tell(event)
