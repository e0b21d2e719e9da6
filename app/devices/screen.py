"""Pictures of the screen and of the clipboard, and how many image tokens they need."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageGrab, UnidentifiedImageError

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import BUDGETS, PATCH, resized_size

from ..state import ScreenArea
from . import files, linux, mac

CLIPBOARD = "clipboard"
PATIENCE = 20.0
"""Seconds that another program may take to pass on the clipboard's text."""
WORDS = {"region": "part of the screen", "window": "window", "screen": "screen"}


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture as it was taken, and the name of what it shows, as "part of the screen".

    `note` is a sentence, where it shows something else than was asked for.
    """

    image: Image.Image
    name: str
    note: str = ""


def capture(what: ScreenArea) -> Shot | None:
    """Take a picture of the screen; None where the user cancelled. Waits: call it in a thread.

    Raises `permissions.Refused`, or Gemma4Error where there is nothing that can take it.
    """
    if sys.platform == "darwin":
        image = mac.capture(what)
        return None if image is None else Shot(image, WORDS[what])
    if (taken := linux.capture(what)) is None:
        return None
    image, shown = taken
    note = ""
    if shown != what and shown == "screen":
        note = "The whole screen is shown. To choose: grim and slurp (Wayland), or slop (X11)."
    return Shot(image, WORDS[shown], note)


def clipboard() -> Shot | list[Path] | str | None:
    """Take the picture, the files or the text out of the clipboard; None where it holds neither.

    Raises Gemma4Error where it cannot be read.
    """
    try:
        held = ImageGrab.grabclipboard()
        if isinstance(held, Image.Image):
            held.load()  # a Mac's is not decoded yet
            return Shot(held, CLIPBOARD)
    except NotImplementedError as error:
        raise Gemma4Error(
            "clipboard_unreadable",
            "The clipboard cannot be read",
            "wl-paste (Wayland) or xclip (X11) reads it, and is not there.",
            "Install one: apt install wl-clipboard (Wayland) or xclip (X11).",
        ) from error
    except Exception as error:  # a program failed, or what it returned makes a decoder fail
        if isinstance(error, UnidentifiedImageError) and (text := _text()):
            return text  # xclip passes on what it holds as whatever it is asked for
        raise Gemma4Error(
            "clipboard_unreadable",
            "The clipboard cannot be read",
            f"{error}.",
            "Save the picture, and attach its file.",
        ) from error
    return files.existing(held or ()) or _text() or None


def _text() -> str:
    """Take the text out of the clipboard, by the program that Pillow asks for its picture."""
    command = ["xclip", "-selection", "clipboard", "-t", "UTF8_STRING", "-o"]
    if sys.platform == "darwin":
        command = ["env", "LC_CTYPE=UTF-8", "pbpaste"]
    elif os.environ.get("WAYLAND_DISPLAY") or shutil.which("xclip") is None:
        command = ["wl-paste", "--no-newline", "--type", "text"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        text = done.stdout.decode()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return text if text.strip() else ""


def screen_tokens(
    size: tuple[int, int], most: int = BUDGETS[-1], budgets: Sequence[int] = BUDGETS
) -> int:
    """Choose the image tokens for a picture of a screen, (width, height) in pixels.

    The least budget at which it is not made smaller, because text on screens is drawn to be read at
    its own size and a smaller picture blurs it; else the largest that is allowed, at `most`. A
    screen of more than 1.3 megapixels comes to 1120.
    """
    width, height = size
    allowed = [budget for budget in budgets if budget <= most] or budgets[:1]
    whole = (one for one in allowed if resized_size(height, width, one)[1] >= width)
    return next(whole, allowed[-1])


def tokens_of(size: tuple[int, int], budget: int) -> int:
    """Return how many tokens a picture of (width, height) pixels takes of a budget."""
    height, width = resized_size(size[1], size[0], budget)
    return height * width // PATCH**2


def caption(name: str, size: tuple[int, int], tokens: int, budget: int) -> str:
    return f"{name} · {size[0]}×{size[1]} → {tokens} of {budget} image tokens"


def next_budget(budget: int, budgets: Sequence[int] = BUDGETS) -> int:
    """Return the budget above this one; after the largest comes the smallest."""
    return next((one for one in budgets if one > budget), budgets[0])
