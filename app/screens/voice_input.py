"""The microphone while it is used: sends what is heard to the worker, and keeps what is shown.

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

from .. import commands
from ..state import RecordingState
from ..widgets.talkbar import TalkStatus
from ..workspace import Workspace

LEVELS = 40
"""Levels that are kept for drawing."""
EVERY = 1 / 15
"""Seconds between two drawings of the level."""
_log = logging.getLogger(__name__)


class VoiceInput:
    """Starts, sends and ends recordings.

    Attributes:
        observer: is called, from a thread, with what happens to the microphone.
        device: the microphone that is open; empty while it is being opened.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.observer = LiveObserver()
        self._live: Live | None = None
        self.hands_free = False
        self.device = ""
        self._record: Callable[[NDArray[np.float32]], None] = workspace.conversation.record
        self._levels: deque[float] = deque(maxlen=LEVELS)
        self._drawn = 0.0
        self._reopened = False  # and nothing has come from it since

    @property
    def active(self) -> bool:
        """Whether the microphone is open, or being opened."""
        return self._live is not None

    def start(self, hands_free: bool) -> None:
        """Open the microphone."""
        self.end()
        settings, devices = self._workspace.settings, self._workspace.devices
        self._levels.clear()
        self.hands_free = hands_free
        self._record = self._workspace.conversation.record
        self._live = Live(
            self._workspace.client,
            lambda: devices.microphone(settings.microphone),
            lambda: devices.gate(hands_free, settings.stop_after),
            self.observer,
            self._workspace.conversation.id,
            muted=self.hears_itself,
        )

    def end(self) -> None:
        """Close the microphone; the worker is sent nothing more."""
        self.device, self.hands_free = "", False
        if self._live is not None:
            self._live.close()
            self._live = None

    def change_conversation(self) -> None:
        """Listen for the conversation that is held now if hands-free, else not at all."""
        hands_free = self.hands_free
        self.end()
        if hands_free:
            self.start(hands_free)

    def cut(self) -> None:
        """The recording is sent or discarded by hand; hands-free goes on listening."""
        if not self.hands_free:
            self.end()
        elif self._live is not None:
            self._live.cut()

    def record(self, frames: NDArray[np.float32]) -> None:
        """Keep what the worker is sent; from the thread that listens."""
        try:
            self._record(frames)
        except Gemma4Error as error:  # the worker hears it all the same
            _log.warning("The recording is not kept: %s", error)

    def sounded(self, level: float) -> None:
        """Take a level, and listen no more while the program itself speaks."""
        if self._live is not None:
            self._levels.append(level)
            self._reopened = False
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

    def reopen(self, code: str) -> bool:
        """Open a microphone that has stopped again, once until something comes from it.

        After any other failure nothing is recorded: what came waits to be sent.
        """
        hands_free = self.hands_free
        self._reopened = code == "microphone_stopped" and not self._reopened
        self.end()
        if self._reopened:
            self.start(hands_free)
        else:
            self._workspace.conversation.keep_recording()
        return self._reopened

    @property
    def due(self) -> bool:
        """Whether the level should be drawn again; true at most once in EVERY seconds."""
        now = time.monotonic()
        if now - self._drawn < EVERY:
            return False
        self._drawn = now
        return True

    def status(self) -> TalkStatus:
        conversation = self._workspace.conversation
        recording = conversation.recording
        if self._live is None and recording is None:
            return TalkStatus()
        if not self.device:
            label, hint = "opening", "esc cancels"
        elif recording is None:
            label = "listening"
            hint = f"{self._key('hands_free' if self.hands_free else 'talk')} ends"
        else:
            label = "rec"
            hint = "silence sends" if self.hands_free else f"space or {self._key('talk')} sends"
        question = conversation.history.last("user") if self.hands_free else None
        return TalkStatus(
            label,
            tuple(self._levels),
            recording or RecordingState(),
            self.device,
            hint,
            question.heard if question else "",
        )

    def _key(self, command: str) -> str:
        keys = self._workspace.keys[command]
        return commands.shown(keys[0]) if keys else f"/{command}"
