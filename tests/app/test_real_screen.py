"""A real window (xterm under Xvfb), pictured by the program and read by the tiny model."""

import random
import shutil

import pytest

from mlx_gemma4.evaluate.tiny.receipts import make_receipt
from tests.app.display import SIZE, receipt_window, x_server
from tests.app.terminal import Terminal

MISSING = [name for name in ("Xvfb", "xterm") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def test_a_question_about_a_real_window_on_the_screen_is_answered_right(terminal: Terminal) -> None:
    receipt = make_receipt(random.Random(20261124))
    terminal.settle()
    with x_server(*SIZE) as display, receipt_window(receipt, display):
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
