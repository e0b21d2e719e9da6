"""The real program in a real terminal (tmux), with the model in a process of its own."""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"
_SERVERS = itertools.count()  # tmux's own: the last one may still be ending
START = "from mlx_gemma4.cli import main; raise SystemExit(main([]))"
NOTHING_OUTSIDE = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "ALSA_CONFIG_PATH": os.devnull}
"""Neither the screen nor the microphone of whoever runs the tests."""


class Terminal:
    """`gemma4` in a tmux of its own, with a home of its own.

    Args:
        folder: the home.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = ""

    def settle(self, settings: str = "") -> None:
        """Write settings.toml, so that nobody is welcomed as a newcomer."""
        path = self.folder / "config" / "mlx-gemma4" / "settings.toml"
        path.parent.mkdir(parents=True)
        path.write_text(settings)

    def start(self, environment: Mapping[str, str] = NOTHING_OUTSIDE) -> None:
        """Start it with these variables besides its own."""
        self._server = f"gemma4-test-{os.getpid()}-{next(_SERVERS)}"
        variables = {
            **NOTHING_OUTSIDE,
            **environment,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "MLX_DISABLE_COMPILE": "1",
        }
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        command = f"cd / && env {settings} {sys.executable} -c {shlex.quote(START)}; sleep 1000"
        self._tmux("new-session", "-d", "-x", "100", "-y", "40", command)

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text."""
        self._tmux("send-keys", "-l", text)

    def drop(self, picture: Path) -> None:
        """Paste the path of the conversation's first picture, as a terminal does with a file."""
        self._tmux("set-buffer", str(picture))
        self._tmux("paste-buffer", "-p")
        self.until(lambda text: text.count("[Image #1]") == 2)  # in the draft and in the prompt

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def pid(self) -> int:
        """The process of the program itself: below the shell of the pane."""
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])

    @property
    def journals(self) -> list[Path]:
        """The journals of the conversations, oldest first."""
        return sorted((self.folder / "data").glob("**/events.jsonl"))

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of this kind in the newest journal."""
        lines = map(json.loads, self.journals[-1].read_text().splitlines())
        return [line for line in lines if line.get("is") == kind]

    def until(self, condition: Callable[[str], object], seconds: float = 60) -> str:
        """Wait until the screen fulfils a condition; return what is on it then."""
        end = time.monotonic() + seconds
        while not condition(text := self.text):
            assert time.monotonic() < end, text
            time.sleep(0.05)
        return text

    def stop(self) -> None:
        """End the terminal, and with it the program."""
        if self._server:
            subprocess.run(["tmux", "-L", self._server, "kill-server"], capture_output=True)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._server, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which nothing was started yet."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    one = Terminal(tmp_path)
    yield one
    one.stop()
