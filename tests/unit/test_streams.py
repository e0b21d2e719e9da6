import subprocess
import sys
from pathlib import Path

import pytest

from mlx_gemma4 import cli
from mlx_gemma4.cli import streams
from mlx_gemma4.cli.streams import ProgressLine

GEMMA4 = f"{sys.executable} -c 'import sys; from mlx_gemma4.cli import main; sys.exit(main())'"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which G is the program."""
    return subprocess.run(
        ["sh", "-c", command.replace("G ", f"{GEMMA4} ", 1)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def asked() -> str:
    return "G ask hello --temperature 0"


def test_an_answer_that_a_full_disk_does_not_take_is_printed_on_stderr(asked: str) -> None:
    answer = shell(asked).stdout.strip()
    done = shell(f"{asked} > /dev/full")
    assert answer.startswith("I am a tiny") and answer in done.stderr
    assert "Cause: Standard output: No space left on device." in done.stderr
    assert (done.returncode, "Traceback" in done.stderr, "ignored" in done.stderr) == (
        2, False, False,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["--help", "--version", "fit --help"])
def test_a_help_that_a_full_disk_does_not_take_is_one_error(command: str) -> None:
    done = shell(f"G {command} > /dev/full")
    assert (done.returncode, done.stdout) == (2, "")
    assert "gemma4" in done.stderr and "Traceback" not in done.stderr
    assert "\nError: The output could not be written\n" in done.stderr


def test_closed_stdout_is_told_before_anything_is_computed(asked: str) -> None:
    done = shell(f"{asked} >&-")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "Error: There is nowhere to print",
        "  Cause: Standard output is closed.",
    ]


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "2>&- 2>/dev/full"])
def test_the_answer_comes_where_stderr_takes_nothing(asked: str, stderr: str) -> None:
    done = shell(f"{asked} {stderr}")
    assert (done.returncode, done.stdout) == (0, shell(asked).stdout)


def test_a_closed_stdin_is_an_empty_one(asked: str) -> None:
    assert shell(f"{asked} <&-").returncode == 0
    done = shell(f"{asked.replace(' hello', '')} <&-")
    assert (done.returncode, "Error: There is no question" in done.stderr) == (2, True)


def test_a_stdin_that_cannot_be_read_is_one_error(asked: str) -> None:
    done = shell(f"{asked.replace(' hello', '')} < /proc/self/mem")
    assert done.returncode == 2
    assert "Error: The question cannot be read\n  Cause: Standard input: " in done.stderr


def test_all_three_closed_are_an_exit_status(asked: str) -> None:
    assert shell(f"{asked} <&- >&- 2>&-").returncode == 2


def test_a_letter_that_the_encoding_lacks_is_escaped(folder: Path) -> None:
    done = shell(f"PYTHONIOENCODING=ascii G convert {folder}/é")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "\\xe9" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "hello", "--model", ""],
        ["ask", "hello", "--image", ""],
        ["ask", "hello", "--audio", " "],
        ["live", "--audio", "a.wav", "--model", ""],
        ["listen", "--model="],
        ["bench", "--model", ""],
        ["bench", "--json", ""],
        ["eval", "ocr", "--model", ""],
        ["eval", "ocr", "--out", ""],
        ["fit", ""],
        ["fit", "--memory", ""],
        ["convert", ""],
        ["convert", "tiny", "-o", ""],
        ["verify", ""],
    ],
)
def test_an_empty_name_is_an_error_and_stands_for_nothing_else(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert (out, "its value is empty" in err) == ("", True)


class Terminal:
    """A stderr that is a terminal or a pipe, and keeps what is printed."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def steps(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
    """What 60 steps of a second each show."""
    stderr, now = Terminal(terminal), [50.0]
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(streams.time, "monotonic", lambda: now[0])
    progress = ProgressLine()
    for done in range(60):
        progress.step("work", done, 60)
        now[0] += 1
    progress.step("", 60, 60)
    return stderr.text


def test_progress_in_a_pipe_is_a_line_at_once_and_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert steps(monkeypatch, False).splitlines() == [
        f"work: step {step} of 60" for step in (1, 11, 21, 31, 41, 51)
    ]


def test_progress_on_a_terminal_is_one_line_that_is_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = steps(monkeypatch, True)
    assert shown.startswith("\r\x1b[Kwork: step 1 of 60\r\x1b[Kwork: step 2 of 60")
    assert shown.endswith("work: step 60 of 60\r\x1b[K") and "\n" not in shown


def test_a_terminal_gets_nothing_of_an_answer_that_it_would_obey(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def printed(terminal: bool) -> tuple[str, str]:
        stdout, stderr = Terminal(terminal), Terminal(terminal)
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        streams.put("a\x1b]52;c;eA==\x07b\tc\x9b1m\nd", end="")
        streams.inform("no \x1b[2J.png")
        return stdout.text, stderr.text

    assert printed(True) == ("a]52;c;eA==b\tc1m\nd", "no [2J.png\n")
    assert printed(False) == ("a\x1b]52;c;eA==\x07b\tc\x9b1m\nd", "no \x1b[2J.png\n")
