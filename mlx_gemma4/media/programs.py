"""Programs that open what Pillow and libsndfile do not know: a Mac's own ones, and ffmpeg.

`sips` and `afconvert` are part of macOS. None means that a program is not on the PATH.
"""

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import limits
from .sources import Unreadable

Convert = Callable[[Path, Path, Unreadable], str]
"""Makes the second file of the first, and returns complaints; errors are made by the third."""

DEMUXERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,aac,amr,mp3,flac,wav,caf,aiff"
"""What FFmpeg may take a file for: no playlists, which lead to other files and addresses."""

_SECONDS = 300.0
"""The longest that a program may take."""


def sips() -> Convert | None:
    """Makes a JPEG of a picture."""
    return _program("sips", "-s", "format", "jpeg", between=("--out",))


def afconvert() -> Convert | None:
    """Makes a WAV of a sound at 16 kHz, with all channels: for one it would drop the others."""
    return _program("afconvert", "-f", "WAVE", "-d", "LEI16@16000")


def ffmpeg() -> Convert | None:
    """Makes a WAV of a sound."""
    options = ("-v", "error", "-nostdin", "-format_whitelist", DEMUXERS)
    return _program("ffmpeg", *options, "-t", str(limits.SOUND_SECONDS + 1), "-i")


def _program(*command: str, between: tuple[str, ...] = ()) -> Convert | None:
    return partial(_run, command, between) if shutil.which(command[0]) else None


def _run(
    program: tuple[str, ...], between: tuple[str, ...], file: Path, made: Path, fail: Unreadable
) -> str:
    command = [*program, str(file), *between, str(made)]
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
    complaints = (done.stderr or done.stdout).decode(errors="replace").strip()
    if done.returncode or not made.is_file() or not made.stat().st_size:
        reason = complaints.splitlines()[-1] if complaints else f"it ended with {done.returncode}"
        raise fail(f"{command[0]} cannot open it ({reason}).", "Save or export it again.")
    return complaints
