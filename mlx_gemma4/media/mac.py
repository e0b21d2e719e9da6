"""What a Mac opens by its own programs: HEIC by `sips`, m4a, aac, caf and qta by `afconvert`.

Both are part of macOS. Where they are not on the PATH, `available` is False.
"""

import shutil
import subprocess
from pathlib import Path

from .sources import Unreadable

_SECONDS = 60.0
"""The longest that a program may take."""
_PICTURE = ("sips", "-s", "format", "jpeg")
_SOUND = ("afconvert", "-f", "WAVE", "-d", "LEI16@16000", "-c", "1")


def has_sips() -> bool:
    """Whether pictures can be converted here."""
    return shutil.which(_PICTURE[0]) is not None


def has_afconvert() -> bool:
    """Whether sound can be converted here."""
    return shutil.which(_SOUND[0]) is not None


def to_jpeg(file: Path, made: Path, fail: Unreadable) -> None:
    """Convert a picture; errors are made by `fail`."""
    _run([*_PICTURE, str(file), "--out", str(made)], made, fail)


def to_wav(file: Path, made: Path, fail: Unreadable) -> None:
    """Convert a sound to mono at 16 kHz; errors are made by `fail`."""
    _run([*_SOUND, str(file), str(made)], made, fail)


def _run(command: list[str], made: Path, fail: Unreadable) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise fail(
            f"{command[0]} did not end within {_SECONDS:g} s.", "Convert it to JPEG or WAV first."
        ) from error
    except OSError as error:
        raise fail(f"{command[0]} cannot be run ({error}).", "Convert it first.") from error
    if done.returncode or not made.is_file() or not made.stat().st_size:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"it ended with {done.returncode}"
        raise fail(f"{command[0]} cannot open it ({reason}).", "Save or export it again.")
