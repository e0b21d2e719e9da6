"""A real window (xterm under Xvfb), pictured by the program and read by the tiny model."""

import random
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import ImageGrab

from mlx_gemma4.evaluate.tiny.receipts import ADVANCE, COLUMNS, PITCH, Receipt, make_receipt
from tests.app.display import x_server
from tests.app.terminal import Terminal

MISSING = [name for name in ("Xvfb", "xterm") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

SIZE = 288, 480
EDGE, ABOVE = 8, 10
"""Pixels around the text, and of the window above the screen: so its baselines are a receipt's."""
WINDOW = (
    *("-fa", f"DejaVu Sans Mono:pixelsize={ADVANCE / 0.60205:.2f}"),  # as `receipts.draw` has it
    *("-xrm", "XTerm*scaleHeight: 1.5"),  # 32 pixels a line become 48
    *("-geometry", f"{COLUMNS}x10+0+-{ABOVE}", "-b", str(EDGE), "-bw", "0", "+sb"),
    *("-fg", "black", "-bg", "white"),
)


@contextmanager
def shown(receipt: Receipt, display: str) -> Iterator[None]:
    """Have it printed in an xterm that fills the screen."""
    text = "\n".join(receipt.lines)
    script = f"printf '\\033[?25l%s' {shlex.quote(text)}; sleep 1000"  # without the cursor
    command = ["xterm", "-display", display, *WINDOW, "-e", "sh", "-c", script]
    right, bottom = EDGE + COLUMNS * ADVANCE, len(receipt.lines) * PITCH
    last = tuple(map(int, (right - ADVANCE, bottom - PITCH, right, bottom)))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as window:
        try:
            end = time.monotonic() + 20
            # black on white in the place of the last character, which is drawn last
            while ImageGrab.grab(last, xdisplay=display).convert("L").getextrema() != (0, 255):
                assert time.monotonic() < end, "the receipt does not stand where it should"
                time.sleep(0.05)
            yield
        finally:
            window.terminate()


def test_a_question_about_a_real_window_on_the_screen_is_answered_right(terminal: Terminal) -> None:
    receipt = make_receipt(random.Random(20261124))
    terminal.settle()
    with x_server(*SIZE) as display, shown(receipt, display):
        # without other programs Pillow takes the picture, of this screen and no other
        terminal.start({"DISPLAY": display, "PATH": ""})
        terminal.until(lambda text: "ready" in text)
        terminal.press("C-s")
        terminal.until(lambda text: "screen · 288×480 → 60 of 70 image tokens" in text)
    terminal.type("what is the total?")
    terminal.press("Enter")
    terminal.until(lambda text: f"▌ {receipt.total}" in text)
    terminal.type("which shop is it?")
    terminal.press("Enter")
    terminal.until(lambda text: f"▌ {receipt.shop}" in text)
