"""A picture out of a real clipboard (Xvfb, xclip), pasted into the program with the tiny model."""

import shutil
import subprocess

import pytest
from PIL import Image, ImageChops

from tests.app.display import x_server
from tests.app.terminal import DEMO, Terminal

MISSING = [name for name in ("Xvfb", "xclip") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
NOWHERE = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
RECEIPT = DEMO / "receipt.png"


def test_a_typed_question_about_a_pasted_picture_is_answered_right(terminal: Terminal) -> None:
    terminal.settle()
    with x_server(640, 480) as display:
        copy = ["xclip", "-selection", "clipboard", "-t", "image/png", "-i", str(RECEIPT)]
        # the process that xclip leaves behind to serve the picture ends with the server
        subprocess.run([*copy, "-display", display], check=True, **NOWHERE)
        terminal.start({"DISPLAY": display})
        terminal.until(lambda text: "ready" in text)
        terminal.press("C-v")
        terminal.until(lambda text: "❯ [Image #1]  " in text and "clipboard · 288×480 → 60" in text)
    terminal.type("what is the total?")
    terminal.press("Enter")
    terminal.until(lambda text: "❯ what is the total?  [Image #1]" in text and "▌ 19.56" in text)
    (*_, attached) = terminal.entries("attached")
    with Image.open(terminal.journals[-1].parent / attached["attachment"]["file"]) as pasted:
        assert not ImageChops.difference(pasted, Image.open(RECEIPT).convert("RGB")).getbbox()
