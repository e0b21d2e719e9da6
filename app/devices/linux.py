"""Pictures of a Linux screen: by the first of several programs that is there and works.

grim and slurp are for wlroots compositors (Wayland), gnome-screenshot for GNOME, Pillow's
ImageGrab for X11, with slop to choose a part; without that it takes the whole screen.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageGrab

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import open_image

from ..state import ScreenArea

PATIENCE = 120.0
"""Seconds that somebody may take to choose."""


class _Unable(Exception):
    """This way does not work here; the text is the reason."""


def capture(what: ScreenArea) -> tuple[Image.Image, ScreenArea] | None:
    """Take a picture, and report what it really shows; None where the user cancelled.

    Waits for the user: call it in a thread. Raises Gemma4Error where no way works.
    """
    reasons = []
    for name, way in _ways(what):
        try:
            return way()
        except (_Unable, subprocess.TimeoutExpired) as error:
            if what != "screen" and isinstance(error, subprocess.TimeoutExpired):
                return None  # nobody has chosen: the next way may take the whole screen unasked
            reasons.append(f"{name}: {error}")
    raise Gemma4Error(
        "screenshot_failed",
        "No picture of the screen was taken",
        f"{'; '.join(reasons) or 'Neither a screen nor a program that takes pictures is there'}.",
        "Install grim and slurp (Wayland) or slop (X11), or run it in a desktop session; "
        "pictures from files and the clipboard work.",
    )


Way = Callable[[], tuple[Image.Image, ScreenArea] | None]


def _ways(what: ScreenArea) -> Iterator[tuple[str, Way]]:
    has = shutil.which
    if os.environ.get("WAYLAND_DISPLAY") and has("grim") and (what == "screen" or has("slurp")):
        yield "grim", lambda: _grim(what)
    if (os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")) and has("gnome-screenshot"):
        yield "gnome-screenshot", lambda: _gnome(what)
    if os.environ.get("DISPLAY"):
        yield "Pillow", lambda: _pillow(what)


def _grim(what: ScreenArea) -> tuple[Image.Image, ScreenArea] | None:
    area: list[str] = []
    if what != "screen":  # it cannot point at a window: the user draws a rectangle around it
        chosen = _run(["slurp"])
        if _cancelled(chosen):
            return None
        area = ["-g", chosen.stdout.decode().strip()]
    if (image := _written(["grim", *area])) is None:
        raise _Unable("it wrote no picture")
    return image, "screen" if what == "screen" else "region"


def _gnome(what: ScreenArea) -> tuple[Image.Image, ScreenArea] | None:
    chosen = {"region": ["-a"], "window": ["-w"], "screen": []}[what]
    image = _written(["gnome-screenshot", *chosen, "-f"])
    return None if image is None else (image, what)


def _pillow(what: ScreenArea) -> tuple[Image.Image, ScreenArea] | None:
    box = None
    if what != "screen" and shutil.which("slop"):
        chosen = _run(["slop", "-f", "%x %y %w %h"])
        if _cancelled(chosen):
            return None
        left, top, width, height = map(int, chosen.stdout.split())
        box = left, top, left + width, top + height
    try:
        # with a name Pillow asks the X server alone, and none of the programs tried above
        image = ImageGrab.grab(xdisplay=os.environ["DISPLAY"])
    except OSError as error:
        raise _Unable(str(error)) from error
    if box is None:
        return image, "screen"
    left, top, right, bottom = box  # a window may be partly outside
    seen = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        raise _Unable("what was chosen is outside the screen")
    return image.crop(seen), "region"


def _written(command: list[str]) -> Image.Image | None:
    """The picture that a command writes into the file of its last argument, if it writes one."""
    with tempfile.TemporaryDirectory(prefix="gemma4-") as folder:
        file = Path(folder) / "screen.png"
        done = _run([*command, str(file)])
        if done.returncode:
            raise _Unable(_said(done))
        return open_image(file) if file.is_file() and file.stat().st_size else None


def _run(command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
    except OSError as error:
        raise _Unable(str(error)) from error


def _cancelled(chosen: "subprocess.CompletedProcess[bytes]") -> bool:
    """Whether the user chose nothing: then slurp and slop fail, and write this word."""
    if chosen.returncode and b"cancel" not in chosen.stderr:
        raise _Unable(_said(chosen))
    return chosen.returncode != 0


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    said = done.stderr.decode(errors="replace").strip()
    return said or f"it ended with status {done.returncode}"
