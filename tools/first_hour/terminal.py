"""A shell in tmux whose every key is logged with its time, and every screen that was waited for."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

_SERVERS = itertools.count()
SHELL = "PS1='$ ' exec bash --noprofile --norc"


class FirstHourFailed(Exception):
    """What should have been on the screen did not come; the text has what was there."""


class LoggedTerminal:
    """A terminal of a newcomer.

    Args:
        log: the file that keys and times are appended to.
        screens: the folder for what was on the screen whenever it was waited for.
        size: columns and lines.
    """

    def __init__(self, log: Path, screens: Path, size: tuple[int, int]) -> None:
        self._log, self._screens, self._size = log, screens, size
        self._server = ""
        self._started = time.monotonic()
        self.keys = 0
        self.stages: list[tuple[str, float, int]] = []  # title, and its start in seconds and keys

    def stage(self, title: str) -> None:
        """Start a stage of the log."""
        self.stages.append((title, self.seconds, self.keys))
        self.note(f"\n== {title}")

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def note(self, line: str) -> None:
        """Append a line to the log, with the time unless it starts with a line feed."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n" if line.startswith("\n") else f"{self.seconds:7.1f} s  {line}\n")

    def open(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Open a window with a shell in a folder, in place of the one before."""
        self.close()
        self._server = f"gemma4-first-hour-{os.getpid()}-{next(_SERVERS)}"
        settings = [part for item in environment.items() for part in ("-e", "=".join(item))]
        width, height = map(str, self._size)
        self._tmux(
            "new-session", "-d", "-x", width, "-y", height, "-c", str(folder), *settings, SHELL
        )
        self._tmux("set", "-g", "status", "off")
        self.note(f"a window of {width}x{height} opens")
        self.until("$")

    def type(self, text: str) -> None:
        self.keys += len(text)
        self.note(f"type   {text}")
        self._tmux("send-keys", "-l", text)

    def press(self, key: str) -> None:
        """Press a key, as tmux names it."""
        self.keys += 1
        self.note(f"press  {key}")
        self._tmux("send-keys", key)

    def run(self, command: str) -> None:
        """Type a command line and press Enter, in an empty window."""
        self._tmux("clear-history")
        self.type(command)
        self.press("Enter")

    def until(self, *wanted: str, seconds: float = 240, absent: str = "") -> str:
        """Wait until all of these are on the screen, whatever lines they are broken into.

        Raises:
            FirstHourFailed: they do not come.
        """
        started = time.monotonic()

        def holds() -> bool:
            shown = flat(self.text)
            return all(one in shown for one in wanted) and not (absent and absent in shown)

        self._wait(holds, seconds, f"{' and '.join(wanted)} does not come")
        waited = time.monotonic() - started
        number = len(list(self._screens.iterdir()))
        (self._screens / f"{number:03}.txt").write_text(self.text, encoding="utf-8")
        self.note(f"shows  {' + '.join(wanted)}   (after {waited:.1f} s, screen {number:03})")
        return self.text

    def wait(self, what: str, holds: Callable[[], object], seconds: float = 60) -> None:
        """Wait for something else than the screen."""
        self._wait(holds, seconds, f"{what}: it does not come to that")
        self.note(f"now    {what}")

    def runs(self, name: str) -> bool:
        """Whether a program of this name runs in the window."""
        with suppress(OSError):  # one that ended meanwhile
            return any(Path(f"/proc/{pid}/comm").read_text().strip() == name for pid in self._below)
        return False

    def pull_the_plug(self) -> None:
        """Kill everything that runs in the window, as a power cut would."""
        for pid in reversed(self._below):
            os.kill(pid, signal.SIGKILL)
        self.note("KILL   every process in the window")

    @property
    def _below(self) -> list[int]:
        return below(int(self._tmux("display-message", "-p", "#{pane_pid}")))

    @property
    def text(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def close(self) -> None:
        if self._server:
            subprocess.run(["tmux", "-L", self._server, "kill-server"], capture_output=True)
            self._server = ""

    def _wait(self, holds: Callable[[], object], seconds: float, failed: str) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                self.note(f"FAILED {failed}; on the screen is\n{self.text}")
                raise FirstHourFailed(f"{failed}; on the screen is\n{self.text}")
            time.sleep(0.05)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", os.devnull, "-L", self._server, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def flat(text: str) -> str:
    """What is on a screen without frames and line breaks."""
    for sign in "│┃▌▎":
        text = text.replace(sign, " ")
    return " ".join(text.split())


def below(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (child, *below(child))]
