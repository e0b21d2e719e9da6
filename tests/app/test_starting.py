"""The program in terminals that are odd, or none, and when a signal ends it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = "import sys; from mlx_gemma4.cli import main; raise SystemExit(main(sys.argv[1:]))"
MOUSE_OFF, SCREEN_OFF = b"\x1b[?1000l", b"\x1b[?1049l"


def environment(folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "MLX_DISABLE_COMPILE": "1",
        "ALSA_CONFIG_PATH": os.devnull,
    }


class Run:
    """The program in a pseudo-terminal that answers nothing it is asked."""

    def __init__(
        self, folder: Path, size: tuple[int, int], *arguments: str, before: str = ""
    ) -> None:
        self.output = b""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        command = [sys.executable, "-c", before + START, *arguments]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(folder), cwd="/"
        )
        os.close(theirs)
        self._terminal = ours

    def until(self, words: bytes, seconds: float = 60) -> None:
        """Read until these words are drawn."""
        end = time.monotonic() + seconds
        while words not in self.output:
            assert self.read() and time.monotonic() < end, self.output[-2000:]

    def read(self) -> bool:
        """Read some of what is drawn; whether more may come."""
        if select.select([self._terminal], [], [], 0.5)[0]:
            try:
                piece = os.read(self._terminal, 65536)
            except OSError:
                return False
            self.output += piece
            return bool(piece)
        return self.process.poll() is None

    def end(self) -> int:
        """Read to the end, and return the exit status."""
        while self.read():
            pass
        return self.process.wait(60)


@pytest.mark.parametrize("size", [(24, 80), (0, 0)], ids=["24 lines", "no size"])
def test_a_terminal_that_answers_nothing_is_drawn_on_and_restored_by_sigterm(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    run = Run(tmp_path, size)
    run.until(b"\x1b[?1049h")
    run.until(b"Welcome")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    assert MOUSE_OFF in run.output and SCREEN_OFF in run.output
    assert b"Traceback" not in run.output
    private = [path.stat().st_mode & 0o077 for path in (tmp_path / "data").rglob("*")]
    assert private and not any(private)


def test_a_model_that_is_named_is_the_one_that_is_opened(tmp_path: Path) -> None:
    run = Run(tmp_path, (24, 80), "--model", "tiny-4bit")
    run.until(b"tiny-4bit")
    run.until(b"ready")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM
    assert SCREEN_OFF in run.output


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("nonsense", "There is no model nonsense"),
        ("google/gemma-4-12B-it", "The model google/gemma-4-12B-it is not on this machine"),
    ],
)
def test_a_model_that_is_not_there_is_an_error_and_the_screen_is_left_alone(
    tmp_path: Path, name: str, title: str
) -> None:
    run = Run(tmp_path, (24, 80), "--model", name)
    assert run.end() == 2
    text = " ".join(run.output.decode().split())
    assert title in text and "Traceback" not in text
    assert b"\x1b[?1049h" not in run.output


def test_the_program_ends_with_its_terminal(tmp_path: Path) -> None:
    run = Run(tmp_path, (24, 80))
    run.until(b"Welcome")
    run.process.send_signal(signal.SIGSTOP)  # so that both come at once
    os.close(run._terminal)
    run.process.send_signal(signal.SIGHUP)
    run.process.send_signal(signal.SIGCONT)
    assert run.process.wait(30) == -signal.SIGHUP


MOON = """
from app.screens.chat import ChatScreen
async def fails(self): raise ValueError('the moon is full')
ChatScreen.on_mount = fails
"""


def test_a_defect_ends_the_program_with_a_word_on_the_terminal_and_the_rest_in_the_log(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, (24, 80), before=MOON)
    assert run.end() == 2
    told = run.output[run.output.rindex(SCREEN_OFF) :].decode()
    log = tmp_path / "config/mlx-gemma4/gemma4.log"
    assert "Error: The program failed" in told and "ValueError: the moon is full" in told
    assert str(log) in told and "Traceback" not in told
    assert "Traceback" in log.read_text()


def test_a_terminal_that_answers_with_bytes_that_are_no_text_does_not_end_it_in_silence(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, (24, 80))
    run.until(b"Welcome")
    os.write(run._terminal, b"\xff\xfe\x00")
    assert run.end() == 2
    told = run.output[run.output.rindex(SCREEN_OFF) :].decode()
    assert "Error: The program failed" in told and "gemma4.log" in told
    assert "UnicodeDecodeError" in (tmp_path / "config/mlx-gemma4/gemma4.log").read_text()


def test_a_home_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where a folder should be")
    run = Run(tmp_path, (24, 80))
    assert run.end() == 2
    text = run.output.decode()
    assert "The program has nowhere to write" in text and str(tmp_path / "config") in text
    assert "Traceback" not in text


def test_line_by_line_too_a_home_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where a folder should be")
    done = subprocess.run(
        [sys.executable, "-c", START, "--plain"],
        input="/quit\n",
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    assert done.returncode == 2 and "The program has nowhere to write" in done.stderr


def test_without_a_terminal_the_program_says_what_to_do_instead(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    assert done.returncode == 2
    assert "There is no terminal" in done.stderr and "gemma4 ask" in done.stderr


def test_the_screen_is_drawn_on_stdout_wherever_stderr_goes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.main import redirect; "
        "redirect(Path(sys.argv[1])); print('drawn', end='', file=sys.__stderr__, flush=True); "
        "print('a warning', file=sys.stderr, flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    assert done.stdout == b"drawn"
    assert (tmp_path / "log").read_text().strip() == "a warning"
