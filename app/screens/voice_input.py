"""The microphone while it is used: what is heard goes to the worker, and what of it shows, here.

Knows nothing of screens.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.live import Live, LiveObserver
from mlx_gemma4.runtime.reports import Failed

from .. import commands
from ..devices import permissions
from ..devices.recording import (
    LevelChanged,
    MicrophoneLost,
    MicrophoneOpened,
    SilenceChanged,
    VoiceEvent,
)
from ..state import Problem, RecordingState
from ..widgets.talkbar import TalkStatus
from ..workspace import Workspace

LEVELS = 40
"""Levels that are kept for drawing."""
EVERY = 1 / 15
"""Seconds between two drawings of the level."""
_log = logging.getLogger(__name__)


InInterface = Callable[[Callable[[], None]], object]
"""Does something in the interface's thread, and waits for it."""


class VoiceInput:
    """Starts, sends and ends recordings.

    Args:
        workspace: what all screens share.
        post: called, from a thread, with what shows.
        wait_for: does something in the interface's thread: before the worker is sent what is
            spoken, an answer must be stopped, and after it, it must be asked.
        started: somebody speaks.
        ended: somebody has spoken and is silent.
    """

    def __init__(
        self,
        workspace: Workspace,
        post: Callable[[VoiceEvent], object],
        wait_for: InInterface,
        started: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._workspace, self._post, self._wait_for = workspace, post, wait_for
        self._started, self._ended = started, ended
        self._live: Live | None = None
        self.hands_free = False
        self._device = ""
        self._levels: deque[float] = deque(maxlen=LEVELS)
        self._drawn = 0.0

    @property
    def active(self) -> bool:
        """Whether the microphone is open, or being opened."""
        return self._live is not None

    def start(self, hands_free: bool) -> None:
        """Open the microphone; `MicrophoneOpened`, and then `LevelChanged` come."""
        self.end()
        settings, devices = self._workspace.settings, self._workspace.devices
        self._levels.clear()
        self.hands_free = hands_free
        observer = _Observer(self._post, self._wait_for, self._started, self._ended)
        observer.record = self._workspace.conversation.record
        self._live = Live(
            self._workspace.client,
            lambda: devices.microphone(settings.microphone),
            lambda: devices.gate(hands_free, settings.stop_after),
            observer,
            self._workspace.conversation.id,
            muted=self.hears_itself,
        )

    def end(self) -> None:
        """Close the microphone; the worker is sent nothing more."""
        self._device, self.hands_free = "", False
        if self._live is not None:
            self._live.close()
            self._live = None

    def cut(self) -> None:
        """The recording is sent or discarded by hand; hands-free goes on listening."""
        if not self.hands_free:
            self.end()
        elif self._live is not None:
            self._live.cut()

    def opened(self, event: MicrophoneOpened) -> None:
        self._device = event.device

    def sounded(self, event: LevelChanged) -> None:
        """Take a level, and listen no more while the program itself speaks."""
        if self._live is not None:
            self._levels.append(event.level)
            self.mute()
            self._workspace.conversation.watch_recording()

    def mute(self) -> None:
        """Hear nothing while an answer is read aloud, hands-free."""
        if self._live is not None:
            self._live.muted = self.hears_itself

    @property
    def hears_itself(self) -> bool:
        """Whether what is heard now is the program's own voice."""
        conversation = self._workspace.conversation
        aloud = conversation.state == "answering" and conversation.speaks
        aloud = aloud or conversation.state == "speaking"
        return self.hands_free and aloud and not self._workspace.settings.headphones

    def silent(self, silent: bool) -> Problem | None:
        """What is wrong where the microphone delivers only zeros."""
        if not silent or self._live is None:
            return None
        return Problem.of(permissions.microphone(self._device), "microphone")

    def lost(self, event: MicrophoneLost) -> Problem | None:
        """Open the microphone again, once, if it went while it was used; else return the problem.

        Without a microphone nothing is recorded: what came waits to be sent.
        """
        was, hands_free = self._device, self.hands_free
        self.end()
        if was:
            self.start(hands_free)
            return None
        self._workspace.conversation.keep_recording()
        return Problem.of(event.failed, "microphone")

    @property
    def due(self) -> bool:
        """Whether the level should be drawn again."""
        now = time.monotonic()
        if now - self._drawn < EVERY:
            return False
        self._drawn = now
        return True

    def status(self) -> TalkStatus:
        """What the talk bar shows now."""
        recording = self._workspace.conversation.recording
        if self._live is None and recording is None:
            return TalkStatus()
        hints = {"listening": "F7 ends", "opening": "esc cancels", "rec": self._hint()}
        label = "rec" if recording is not None and self._device else ""
        label = label or ("opening" if not self._device else "listening")
        shown = recording or RecordingState()
        return TalkStatus(
            label,
            tuple(self._levels),
            shown.seconds,
            shown.clip,
            device=self._device,
            behind=shown.behind,
            hint=hints[label],
        )

    def _hint(self) -> str:
        if self.hands_free:
            return "silence sends"
        keys = self._workspace.keys["talk"]
        return f"space or {commands.shown(keys[0])} sends" if keys else "space sends"


class _Observer(LiveObserver):
    """Passes on what a `Live` sees; called from its thread."""

    def __init__(
        self,
        post: Callable[[VoiceEvent], object],
        wait_for: InInterface,
        started: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._post, self._wait_for = post, wait_for
        self._started, self._ended = started, ended
        self.record: Callable[[NDArray[np.float32]], None] = lambda _: None

    def opened(self, name: str) -> None:
        self._post(MicrophoneOpened(name))

    def level(self, decibels: float) -> None:
        self._post(LevelChanged(decibels))

    def began(self) -> None:
        self._wait_for(self._started)

    def heard(self, frames: NDArray[np.float32]) -> None:
        try:
            self.record(frames)
        except Gemma4Error as error:  # the worker hears it all the same
            _log.warning("The recording is not kept: %s", error)

    def ended(self) -> None:
        self._wait_for(self._ended)

    def silent(self, silent: bool) -> None:
        self._post(SilenceChanged(silent))

    def lost(self, failed: Failed) -> None:
        self._post(MicrophoneLost(failed))
