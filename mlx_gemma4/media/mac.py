"""What a Mac opens by its own programs: HEIC by `sips`, m4a, aac, caf and qta by `afconvert`.

Both are part of macOS; None means that it is not on the PATH.
"""

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .sources import Unreadable

Convert = Callable[[Path, Path, Unreadable], None]
"""Makes the second file of the first; errors are made by the third."""

_SECONDS = 60.0
"""The longest that a program may take."""


def sips() -> Convert | None:
    """Makes a JPEG of a picture."""
    command = ("sips", "-s", "format", "jpeg")
    return partial(_run, command, ("--out",)) if shutil.which(command[0]) else None


def afconvert() -> Convert | None:
    """Makes a WAV of a sound, mono at 16 kHz."""
    command = ("afconvert", "-f", "WAVE", "-d", "LEI16@16000", "-c", "1")
    return partial(_run, command, ()) if shutil.which(command[0]) else None


def _run(
    program: tuple[str, ...], before: tuple[str, ...], file: Path, made: Path, fail: Unreadable
) -> None:
    command = [*program, str(file), *before, str(made)]
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
