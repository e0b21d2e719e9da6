"""The program from its first start on, with the tiny model."""

import os
import signal

from tests.app.terminal import Terminal


def test_from_the_first_start_to_a_right_answer_and_back_after_a_kill(terminal: Terminal) -> None:
    terminal.start()
    terminal.until(lambda text: "what is the total?" in text and "image tokens" in text)
    terminal.press("Enter")
    terminal.until(lambda text: "▌ 19.56" in text)
    terminal.until(lambda text: "[Audio 0:01]" in text)
    terminal.press("C-u", "C-n")
    terminal.until(lambda text: "19.56" not in text)

    # another conversation
    events = terminal.journals
    terminal.type("what is this")
    terminal.press("Enter")
    terminal.until(lambda text: "❯ what is this" in text and "tokens ·" in text)

    # a kill in the middle loses nothing of the conversation
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.stop()
    assert len(terminal.journals) == len(events) + 1
    terminal.start()
    terminal.until(lambda text: "ready" in text)
    terminal.press("C-r")
    terminal.until(lambda text: "what is the total?" in text and "what is this" in text)
    terminal.press("Enter")
    terminal.until(lambda text: "❯ what is this" in text)
    terminal.press("C-q")
    terminal.until(lambda text: "❯" not in text)
