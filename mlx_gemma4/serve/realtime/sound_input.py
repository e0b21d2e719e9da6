"""Sound that a client appends: base64 PCM of 24 kHz -> frames of 16 kHz -> what is speech.

Pure but for the detector. All times are counted in samples that came, never taken from a clock.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ...capture.speechgate import SpeechGate
from ...media.audio import FRAME
from ...media.audio import RATE as MODEL_RATE
from ...runtime.live import EverythingGate, Gate
from ..fields import decoded
from .refusals import refused
from .session_object import EAGERNESS, PADDING_MS, RATE

Frames = NDArray[np.float32]

FRAME_MS = 1000 * FRAME // MODEL_RATE
_OPENING = 4  # frames that the gate takes to be sure, and that are therefore always kept


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody speaks since `at_ms` of the sound that has come."""

    at_ms: int


@dataclass(frozen=True, eq=False)
class SpeechFrames:
    """Frames (n, 640) to hear."""

    frames: Frames


@dataclass(frozen=True)
class SpeechStopped:
    """An utterance is over; `at_ms` is where its last frame ends."""

    at_ms: int


SpeechEvent = SpeechStarted | SpeechFrames | SpeechStopped


class Resampler:
    """16-bit PCM of 24 kHz, in pieces of any size, to frames of 16 kHz.

    The frames do not depend on where the pieces end.
    """

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._stream = soxr.ResampleStream(RATE, MODEL_RATE, 1, dtype="float32")
        self._samples: Frames = np.zeros(0, np.float32)
        self._odd = b""  # of a sample whose rest is yet to come

    def add(self, pcm: bytes) -> Frames:
        """Return the frames (n, 640) that are complete now, float32 in [-1, 1]; n may be 0."""
        pcm = self._odd + pcm
        whole = len(pcm) - len(pcm) % 2
        self._odd = pcm[whole:]
        samples = np.frombuffer(pcm[:whole], "<i2").astype(np.float32) / 32768
        return self._cut(self._stream.resample_chunk(samples))

    def end(self) -> Frames:
        """Return the rest, its last frame padded with zeros; what comes next is another sound."""
        rest = self._cut(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        if len(self._samples):
            padded = np.pad(self._samples, (0, FRAME - len(self._samples)))
            rest = np.concatenate([rest, padded[None]])
        self._restart()
        return rest

    def _cut(self, samples: Frames) -> Frames:
        together = np.concatenate([self._samples, np.clip(samples, -1, 1)])
        whole = len(together) // FRAME
        self._samples = together[whole * FRAME :]
        return together[: whole * FRAME].reshape(whole, FRAME)


class SoundInput:
    """Finds the speech in what a client appends.

    Args:
        turn_detection: the session's; None: the client commits by hand, and all is let through.
        make_gate: makes the gate for a session's turn detection; None for `gate_of`.
    """

    def __init__(
        self,
        turn_detection: dict[str, Any] | None,
        make_gate: Callable[[dict[str, Any] | None], Gate] | None = None,
    ) -> None:
        self._make_gate = make_gate or gate_of
        self._resampler = Resampler()
        self._frames = self._last = 0  # that came, spoken or not, and where the last spoken one is
        self._speaking = False
        self._gate: Gate = EverythingGate()
        self.set(turn_detection)

    @property
    def heard_ms(self) -> int:
        """Where the last frame of speech ends in the sound that has come."""
        return self._last * FRAME_MS

    def set(self, turn_detection: dict[str, Any] | None) -> list[NDArray[np.float32]]:
        """Change turn detection from here on: an utterance goes on.

        Returns:
            What the former gate held back of it, where all is let through from here on.
        """
        self.by_hand = turn_detection is None
        before, self._gate = self._gate, self._make_gate(turn_detection)
        if isinstance(before, SpeechGate) and isinstance(self._gate, SpeechGate):
            self._gate.follow(before)
            return []
        self._speaking = False
        return before.held if isinstance(before, SpeechGate) and self.by_hand else []

    def add(self, pcm: bytes) -> Iterator[SpeechEvent]:
        """Take sound, and yield what of it is speech, in order."""
        for frame in self._resampler.add(pcm):
            self._frames += 1
            for passed in self._gate.add(frame[None]):
                if passed is None:
                    self._speaking = False
                    yield SpeechStopped(self.heard_ms)
                    continue
                if not self._speaking:
                    self._speaking = True
                    if not self.by_hand:
                        yield SpeechStarted((self._frames - len(passed)) * FRAME_MS)
                self._last = self._frames
                yield SpeechFrames(passed)

    def commit(self) -> Iterator[SpeechFrames]:
        """End the utterance here, whether or not a pause was heard."""
        rest = self._resampler.end()
        self._frames += len(rest)
        if len(rest) and (self.by_hand or self._speaking):
            yield SpeechFrames(rest)
        self.clear()

    def clear(self) -> None:
        """Forget what was said since the last utterance."""
        self._resampler.end()
        self._gate.shut()
        self._speaking = False


def pcm_of(audio: object, param: str = "audio") -> bytes:
    """Decode base64. Raises Gemma4Error, for a client, if it is something else."""
    try:
        if isinstance(audio, str):
            return decoded(audio)
    except ValueError:
        pass
    raise refused("invalid_value", "The sound is not base64.", "Send 16-bit PCM of 24 kHz.", param)


def gate_of(turn_detection: dict[str, Any] | None) -> Gate:
    """Make the gate for a session's turn detection; for commits by hand, everything passes."""
    if turn_detection is None:
        return EverythingGate()
    if turn_detection["type"] == "semantic_vad":
        quiet = EAGERNESS[turn_detection["eagerness"]]
        return SpeechGate(closes_after=quiet / 1000, kept=_kept(PADDING_MS))
    return SpeechGate(
        closes_after=turn_detection["silence_duration_ms"] / 1000,
        likely=turn_detection["threshold"],
        kept=_kept(turn_detection["prefix_padding_ms"]),
    )


def _kept(milliseconds: float) -> int:
    return _OPENING + math.ceil(milliseconds / FRAME_MS)
