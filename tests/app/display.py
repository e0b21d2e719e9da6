"""A real X server without a monitor, and a window of it that shows a receipt."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageGrab

from mlx_gemma4.evaluate.tiny.receipts import ADVANCE, COLUMNS, PITCH, Receipt

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
def x_server(width: int, height: int) -> Iterator[str]:
    """Have a screen of so many pixels; its name is what DISPLAY takes."""
    read, write = os.pipe()
    size = f"{width}x{height}x24"
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", size, "-noreset"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            name = f":{told.readline().strip()}"
        try:
            yield name
        finally:
            server.terminate()


@contextmanager
def receipt_window(receipt: Receipt, display: str) -> Iterator[None]:
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
