"""The microphone while it is used: what its messages make of the conversation, and of the talk bar.

Knows nothing of screens.
"""

import time
from collections import deque
from collections.abc import Callable

from textual.message import Message

from . import commands
from .desk import Desk
from .devices.recording import Listener
from .messages import Frames, Lost, Opened
from .state import Problem, Recording
from .widgets.talkbar import Talk

LEVELS = 40
"""Levels that are kept for drawing."""
EVERY = 1 / 15
"""Seconds between two drawings of the level."""


class Talking:
    """Begins, sends and ends recordings.

    Args:
        desk: what all screens share.
        post: called, from a thread, with the listener's messages.
    """

    def __init__(self, desk: Desk, post: Callable[[Message], object]) -> None:
        self._desk, self._post = desk, post
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
        """Open the microphone; `Opened`, and then `Frames` come."""
        self.end()
        settings, devices = self._desk.settings, self._desk.devices
        self._device = ""
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
        """Let go of the microphone."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def opened(self, message: Opened) -> None:
        """Take the device's name."""
        self._device = message.device

    def heard(self, message: Frames) -> set[int]:
        """Take sound; give the ids of the turns that changed."""
        if self._listener is None:
            return set()
        self._levels.append(message.level)
        conversation = self._desk.conversation
        aloud = conversation.state == "answering" and conversation.speaks
        self._listener.shut = aloud or conversation.state == "speaking"
        return conversation.hear(message.frames) if len(message.frames) else set()

    def lost(self, message: Lost) -> Problem | None:
        """Open the microphone anew, once, if it went while it was used; else give the problem."""
        was, hands_free = self._device, self.hands_free
        self.end()
        if was:
            self.start(hands_free)
            return None
        return message.problem

    @property
    def due(self) -> bool:
        """Whether the level should be drawn again."""
        now = time.monotonic()
        if now - self._drawn < EVERY:
            return False
        self._drawn = now
        return True

    def talk(self) -> Talk:
        """What the talk bar shows now."""
        recording = self._desk.conversation.recording
        if self._listener is None and recording is None:
            return Talk()
        hints = {"listening": "F7 ends", "opening": "esc cancels", "rec": self._hint()}
        label = "rec" if recording is not None and self._device else ""
        label = label or ("opening" if not self._device else "listening")
        shown = recording or Recording()
        return Talk(
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
        keys = self._desk.keys["talk"]
        return f"space or {commands.shown(keys[0])} sends" if keys else "space sends"
