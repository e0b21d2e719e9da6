"""PortAudio, after a process beside this one has shown that it starts here.

Where ALSA's settings are broken, its start ends the whole process with SIGABRT or never returns.
"""

import subprocess
import sys
from typing import Any

from ..errors import Gemma4Error

START_SECONDS = 10.0
"""How long PortAudio may take to look for devices; it takes 0.1 to 1 s."""


def load() -> Any:
    """The module `sounddevice`, which starts PortAudio when it is imported first.

    Raises Gemma4Error where one of them is not installed (`portaudio_missing`), or PortAudio does
    not start (`portaudio_failed`).
    """
    if "sounddevice" not in sys.modules:
        _try()
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # the Linux wheel does not bring PortAudio
        raise Gemma4Error(
            "portaudio_missing",
            "Sound cannot be recorded",
            f"The library PortAudio is not there ({error}).",
            "Install it: apt install libportaudio2 (Debian, Ubuntu), dnf install portaudio.",
        ) from error
    except Exception as error:  # sounddevice's own type cannot be named before it is imported
        raise _failed(str(error)) from error
    return sounddevice


def _try() -> None:
    command = [sys.executable, "-P", "-c", "import sounddevice"]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _failed(f"it has not started within {START_SECONDS:g} s") from error
    if ended.returncode < 0:  # by a signal; an exception comes again here, with its type
        raise _failed(f"it ended its process with signal {-ended.returncode}")


def _failed(why: str) -> Gemma4Error:
    return Gemma4Error(
        "portaudio_failed",
        "The sound devices cannot be listed",
        f"PortAudio does not start: {why}.",
        "See the sound settings of this computer: on Linux ALSA's files and ALSA_CONFIG_PATH "
        "(arecord -l uses them too).",
    )
