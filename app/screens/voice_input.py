"""The microphone while it is used: what its events make of the conversation, and of the talk bar.

Knows nothing of screens.
"""

import time
from collections import deque
from collections.abc import Callable

from .. import commands
from ..devices.recording import (
    FramesRecorded,
    Listener,
    MicrophoneEvent,
    MicrophoneLost,
    MicrophoneOpened,
)
from ..state import Problem, RecordingState
from ..widgets.talkbar import TalkStatus
from ..workspace import Workspace

LEVELS = 40
"""Levels that are kept for drawing."""
EVERY = 1 / 15
"""Seconds between two drawings of the level."""


class VoiceInput:
    """Starts, sends and ends recordings.

    Args:
        workspace: what all screens share.
        post: called, from a thread, with the listener's events.
    """

    def __init__(self, workspace: Workspace, post: Callable[[MicrophoneEvent], object]) -> None:
        self._workspace, self._post = workspace, post
        self._listener: Listener | None = None
        self._device = ""
        self._levels: deque[float] = deque(maxlen=LEVELS)
        self._drawn = 0.0

    @property
    def active(self) -> bool:
        """Whether the microphone is open, or being opened."""
        return self._listener is not None

    @property
    def hands_free(self) -> bool:
        """Whether it listens all the time."""
        return self._listener is not None and self._listener.hands_free

    def start(self, hands_free: bool) -> None:
        """Open the microphone; `MicrophoneOpened`, and then `FramesRecorded` come."""
        self.end()
        settings, devices = self._workspace.settings, self._workspace.devices
        self._levels.clear()
        self._listener = Listener(
            self._post,
            hands_free,
            settings.stop_after,
            settings.microphone,
            devices.microphone,
            devices.gate,
        )

    def end(self) -> None:
        """Close the microphone."""
        self._device = ""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def opened(self, event: MicrophoneOpened) -> None:
        """Take the device's name."""
        self._device = event.device

    def heard(self, event: FramesRecorded) -> set[int]:
        """Take sound; return the ids of the turns that changed."""
        if self._listener is None:
            return set()
        self._levels.append(event.level)
        conversation = self._workspace.conversation
        aloud = conversation.state == "answering" and conversation.speaks
        self._listener.shut = aloud or conversation.state == "speaking"
        return conversation.hear(event.frames) if len(event.frames) else set()

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
        return event.problem

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
        if self._listener is None and recording is None:
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
