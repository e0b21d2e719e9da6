"""Pictures of a Mac's screen, by the system's own `screencapture`."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import open_image

from ..state import ScreenArea
from . import permissions

# screencapture(1): -x no sound, -o no shadow, -i interactive, -s only a part, -W windows first
ARGUMENTS = {"region": ("-i", "-s"), "window": ("-i", "-W", "-o"), "screen": ()}
PATIENCE = 120.0
"""Seconds that somebody may take to choose; then the picker is closed."""


def capture(what: ScreenArea) -> Image.Image | None:
    """Take a picture; None where the user cancelled. Waits for the user: call it in a thread.

    A cancelled picker leaves no file or an empty one, and prints nothing. Without permission
    screencapture fails, or its picture shows the wallpaper alone (before macOS 15) or is black:
    then `permissions.Refused` is raised, and Gemma4Error where it failed otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="gemma4-") as folder:
        file = Path(folder) / "screen.png"
        command = ["screencapture", "-x", *ARGUMENTS[what], str(file)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            return None
        except OSError as error:
            raise _failed(str(error)) from error
        said = done.stderr.decode(errors="replace").strip()
        if "could not create image" in said:  # from display, rect or window
            raise permissions.screen("screencapture got no picture.")
        if not file.is_file() or not file.stat().st_size:
            if what == "screen" or (done.returncode and said):  # a screen is not cancelled
                raise _failed(said or f"it ended with status {done.returncode} and no picture")
            return None
        image = open_image(file)
    if permissions.screen_allowed() is False:
        raise permissions.screen("The picture shows no other program's window.")
    if what == "screen" and not np.any(np.asarray(image.convert("L")) > 2):  # or nearly black
        raise permissions.screen("The picture is black.")
    return image


def _failed(said: str) -> Gemma4Error:
    return Gemma4Error(
        "screenshot_failed",
        "No picture of the screen was taken",
        f"screencapture reports: {said}.",
        "Try again; or press Ctrl+Shift+Cmd+4, choose a part, and paste it here with Ctrl+V.",
    )
