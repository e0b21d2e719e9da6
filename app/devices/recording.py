"""The microphone, and the gate that tells speech from the rest."""

import math

from mlx_gemma4.runtime.live import Gate, SoundSource


def microphone(device: str) -> SoundSource:
    """Open the microphone, by a part of its name."""
    from mlx_gemma4.capture.microphone import Microphone

    return Microphone(device or None)


def gate(hands_free: bool, stop_after: float) -> Gate:
    """Make the gate.

    Args:
        hands_free: only what is spoken passes; else everything does, for a key was pressed.
        stop_after: seconds of silence after speech that end a recording; 0: it never ends so.
    """
    from mlx_gemma4.capture.speechgate import SpeechGate

    if hands_free:
        return SpeechGate()
    return SpeechGate(closes_after=stop_after or math.inf, waits=False)
