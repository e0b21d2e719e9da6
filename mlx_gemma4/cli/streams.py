"""Standard input, output and error of the commands, closed, full or broken as they may be.

What a command was asked for goes to stdout, everything else to stderr.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Gemma4Error
from ..terminal_text import clean

CLEAR = "\r\x1b[K"  # the line that a terminal shows (ECMA-48, 8.3.41)
EVERY = 10.0  # seconds between two lines of progress where stderr is no terminal
_lost: list[OSError] = []  # why stdout takes no more


def prepare() -> None:
    """Make closed streams the null device; raise Gemma4Error where that is stdout."""
    _lost.clear()
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:  # each takes the lowest free descriptor, which is its own
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    if hasattr(sys.stdout, "reconfigure"):  # a letter that the encoding lacks ends no answer
        sys.stdout.reconfigure(errors="backslashreplace")
    if "stdout" in closed:
        raise Gemma4Error(
            "output_closed",
            "There is nowhere to print",
            "Standard output is closed.",
            "Redirect it to a file, or to /dev/null where it is not needed.",
        )


def put(text: str = "", end: str = "\n") -> None:
    """Print on stdout, at once; where that takes no more, on stderr, so that it is not lost.

    Raises:
        BrokenPipeError: its reader has gone.
    """
    if not _lost:
        with _noticed():
            print(clean(text) if sys.stdout.isatty() else text, end=end, flush=True)
            return
    inform(text, end)


def inform(text: str, end: str = "\n", start: str = "") -> None:
    """Print on stderr, at once; an answer does not fail because nobody reads that."""
    try:
        shown = clean(text) if sys.stderr.isatty() else text
        print(start + shown, end=end, file=sys.stderr, flush=True)
    except OSError:
        silence(2)


def agreed(question: str, likely: bool) -> bool:
    """Ask on the terminal, or raise Gemma4Error; Enter alone means what is `likely`."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Gemma4Error(
            "answer_missing",
            "Nobody can be asked",
            f"There is no terminal for the answer to: {question}",
            "Add --yes.",
        )
    inform(f"{question} [{'Y/n' if likely else 'y/N'}] ", end="")
    answer = sys.stdin.readline()
    word = answer.strip().lower()
    return word in ("y", "yes") or (likely and not word and answer != "")


def finish() -> None:
    """Print what is still held back.

    Raises:
        BrokenPipeError: the reader of stdout has gone.
        Gemma4Error: stdout took not all; the rest went to stderr.
    """
    with _noticed():
        sys.stdout.flush()
    if _lost:
        raise Gemma4Error(
            "output_failed",
            "The output could not be written",
            f"Standard output: {_lost[0].strerror}.",
            "Make room or redirect it elsewhere. What it did not take was printed on stderr.",
        )


@contextmanager
def _noticed() -> Iterator[None]:
    """Note where stdout takes no more, and stop using it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _lost.append(error)
        silence(1)


def silence(descriptor: int) -> None:
    """Send a stream to the null device, also what Python still holds back of it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class ProgressLine:
    """How far a long piece of work is: one line on a terminal, one every ten seconds in a pipe."""

    def __init__(self) -> None:
        self._shown = ""
        self._next = 0.0

    def show(self, line: str) -> None:
        """Show a line in place of the one before."""
        if line == self._shown:
            return
        if sys.stderr.isatty():
            inform(line, end="", start=CLEAR)
            self._shown = line
        elif (now := time.monotonic()) >= self._next:
            inform(line)
            self._shown, self._next = line, now + EVERY

    def step(self, what: str, done: int, total: int) -> None:
        """Show what comes next, after `done` of `total` steps; clear the line after the last."""
        if done < total:
            self.show(f"{what}: step {done + 1:,} of {total:,}")
        else:
            self.clear()

    def clear(self) -> None:
        if self._shown and sys.stderr.isatty():
            inform("", end="", start=CLEAR)
        self._shown = ""
