"""The real program in a real terminal (tmux), with the tiny model in a process of its own."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = "from mlx_gemma4.cli import main; raise SystemExit(main([]))"

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """`gemma4` in a tmux of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._starts = 0

    def start(self) -> None:
        self._starts += 1
        self._socket = (
            f"gemma4-test-{os.getpid()}-{self._starts}"  # the last one may still be ending
        )
        variables = {
            "XDG_CONFIG_HOME": self.folder / "config",
            "XDG_DATA_HOME": self.folder / "data",
            "HOME": self.folder,
            "PYTHONPATH": ROOT,
            "LANG": "C.UTF-8",
            "MLX_DISABLE_COMPILE": "1",
        }
        settings = " ".join(
            f"{name}={shlex.quote(str(value))}" for name, value in variables.items()
        )
        command = f"cd / && env {settings} {sys.executable} -c {shlex.quote(START)}; sleep 1000"
        self._tmux("new-session", "-d", "-x", "100", "-y", "40", command)

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def pid(self) -> int:
        """The process of the program itself: below the shell of the pane."""
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])

    def until(self, condition: Callable[[str], object], seconds: float = 30) -> str:
        end = time.monotonic() + seconds
        while not condition(text := self.text):
            assert time.monotonic() < end, text
            time.sleep(0.1)
        return text

    def stop(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path)
    one.start()
    yield one
    one.stop()


def test_from_the_first_start_to_a_right_answer_and_back_after_a_kill(terminal: Terminal) -> None:
    terminal.until(lambda text: "what is the total?" in text and "image tokens" in text)
    terminal.press("Enter")
    terminal.until(lambda text: "▌ 19.56" in text)
    terminal.until(lambda text: "[Audio 0:01]" in text)
    terminal.press("C-u", "C-n")
    terminal.until(lambda text: "19.56" not in text)

    # another conversation
    events = kept(terminal)
    terminal.press(*"what", "Space", *"is", "Space", *"this", "Enter")
    terminal.until(lambda text: "❯ what is this" in text and "tokens ·" in text)

    # a kill in the middle loses nothing that was said
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.stop()
    assert len(kept(terminal)) == len(events) + 1
    terminal.start()
    terminal.until(lambda text: "ready" in text)
    terminal.press("C-r")
    terminal.until(lambda text: "what is the total?" in text and "what is this" in text)
    terminal.press("Enter")
    terminal.until(lambda text: "❯ what is this" in text)
    terminal.press("C-q")
    terminal.until(lambda text: "❯" not in text)


def kept(terminal: Terminal) -> list[Path]:
    """The journals of the conversations."""
    return sorted((terminal.folder / "data").glob("**/events.jsonl"))
