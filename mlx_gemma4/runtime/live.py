"""From the microphone to the worker: one loop, in a thread, that a program only observes.

Sound goes from its source through a gate to the client and nowhere else. The observer learns when
speech starts and ends, and what the worker was sent, for a recording.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from ..media.audio import FRAME, RATE, Frames
from .client import Client
from .commands import MAIN, EndSpeech, Hear
from .reports import Failed
from .threads import start_thread

WAIT = 0.1
"""Seconds to wait for frames, so that a loop that was closed ends soon."""
SETTLED, SILENT, MUTED = 0.5, 0.2, 4.0
"""Seconds of sound from which on, and of exact zeros after which, a source counts as silent: some
devices start with zeros. One that has sounded may be muted; or it removes noise, and a pause in
speech is zeros: that lasts less."""


class SoundSource(Protocol):
    """What is listened to: `capture.microphone.Microphone`, or a file that is played."""

    name: str
    level: float

    @property
    def silent_seconds(self) -> float:
        """For how long every sample has been exactly zero."""

    def read(self, timeout: float) -> Frames | None:
        """The frames (n, 640) that came, none after `timeout` seconds; None at the end."""

    def close(self) -> None:
        """Close the device."""


class Gate(Protocol):
    """What separates speech from the rest: `capture.speechgate.SpeechGate`."""

    def shut(self) -> None:
        """Close it and forget what came before."""

    def add(self, frames: Frames) -> list[Frames | None]:
        """What is speech, and None where an utterance ends."""


class EverythingGate:
    """Lets everything through: for a sound that is one utterance."""

    def shut(self) -> None:
        """Do nothing."""

    def add(self, frames: Frames) -> list[Frames | None]:
        return [frames]


class LiveObserver:
    """Called with what a program may want to know; override the methods that it needs.

    Called from the loop's thread, which waits for it; sound that comes meanwhile waits in the
    source. After `Live.close` nothing is called.
    """

    def opened(self, name: str) -> None:
        """The source is open; `name` is the device's."""

    def level(self, decibels: float) -> None:
        """How loud the last frames were, in dB of full scale, whether or not anybody speaks."""

    def speech_started(self) -> None:
        """Somebody starts to speak; the worker has not been sent anything of it yet."""

    def heard(self, frames: Frames) -> None:
        """The worker was sent these frames.

        Must neither call the `Live` nor wait for a thread that does.
        """

    def ended(self) -> None:
        """The utterance is over, and `EndSpeech` was sent: the reply may be asked for."""

    def silent(self, silent: bool) -> None:
        """The source has started, or stopped, returning nothing but zeros."""

    def lost(self, failed: Failed) -> None:
        """The loop has ended with an error: the source cannot be opened, for example."""


class Live:
    """Listens from when it is made until `close`, or until the source ends.

    Args:
        open_source: opens the source, in the loop's thread.
        make_gate: makes the gate, there too.
        muted: nothing is heard while this is true: the program itself speaks.
    """

    def __init__(
        self,
        client: Client,
        open_source: Callable[[], SoundSource],
        make_gate: Callable[[], Gate],
        observer: LiveObserver,
        conversation: str = MAIN,
        muted: bool = False,
    ) -> None:
        self.muted = muted
        self._client = client
        self._open_source, self._make_gate = open_source, make_gate
        self._observer = observer
        self._conversation = conversation
        self._lock = threading.RLock()
        self._closing = self._speaking = self._dropping = False
        self._thread = start_thread(self._run, "live", self._lost)

    @property
    def over(self) -> bool:
        """Whether the loop has ended, and the observer was called for the last time."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End, without waiting for the source. The worker is sent nothing after this returns."""
        with self._lock:
            self._closing = True

    def cut(self) -> None:
        """End the utterance here: what is still spoken before the next pause is left out.

        For a recording that is sent or discarded by hand, with `Reply` or `Discard`. The worker is
        sent nothing of this utterance after this returns.
        """
        with self._lock:
            self._dropping = self._dropping or self._speaking
            self._speaking = False

    def _run(self) -> None:
        with closing(self._open_source()) as source:
            gate = self._make_gate()
            self._observer.opened(source.name)
            heard, limit, silent = 0, SILENT, False
            while not self._closing and (frames := source.read(WAIT)) is not None:
                if not len(frames):
                    continue
                heard += len(frames)
                self._observer.level(source.level)
                if frames.any():
                    limit = MUTED
                if heard * FRAME / RATE > SETTLED and silent != (source.silent_seconds > limit):
                    silent = not silent
                    self._observer.silent(silent)
                if self.muted:
                    gate.shut()
                    self._dropping = False  # there will be no pause to end it
                    continue
                for speech in gate.add(frames):
                    if speech is None:
                        self._end()
                    else:
                        self._hear(speech)
            self._end()

    def _hear(self, speech: Frames) -> None:
        with self._lock:
            starts = not (self._closing or self._speaking or self._dropping)
            self._speaking = self._speaking or starts
        if starts:
            self._observer.speech_started()
        with self._lock:
            if self._speaking and not self._closing:
                self._client.send(Hear(speech, conversation=self._conversation))
                self._observer.heard(speech)

    def _end(self) -> None:
        with self._lock:
            ends = self._speaking and not self._closing
            self._speaking = self._dropping = False
            if ends:
                self._client.send(EndSpeech(conversation=self._conversation))
        if ends:
            self._observer.ended()

    def _lost(self, failed: Failed) -> None:
        if not self._closing:
            self._observer.lost(failed)
