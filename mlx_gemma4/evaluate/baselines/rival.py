"""A rival as the subject of a question: the same items, over pipes to a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from ...errors import Gemma4Error
from ...media.audio import RATE
from ..question import Asked

_ROOT = Path(__file__).parents[2]  # of our package
_PYTHON = "Name the Python of its environment with --python."


KNOWN = {
    "tesseract": frozenset({"image"}),
    "pocketsphinx": frozenset({"sound"}),
    "mlx-whisper": frozenset({"sound"}),
    "faster-whisper": frozenset({"sound"}),
    "mlx-vlm": frozenset({"text", "image", "sound"}),
}
"""What each of `programs.RIVALS` takes; one without text is a recognizer: it only transcribes."""


class Rival:
    """A running rival; one that ends in the middle of a run is started again for the next item.

    Args:
        name: of KNOWN; with `:MODEL` after it where the rival has several.
        python: the interpreter of the environment in which the rival is installed.
    """

    recipe = ""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        self._program, _, self._choice = name.partition(":")
        if self._program not in KNOWN:
            raise Gemma4Error(
                "baseline_unknown",
                f"There is no baseline {self._program}",
                "This program cannot run it.",
                f"Choose one of {', '.join(KNOWN)}.",
            )
        self.name, self.takes = name, KNOWN[self._program]
        self._python = python
        self._folder = tempfile.TemporaryDirectory(prefix="gemma4-")
        # its environment has no mlx_gemma4: it finds ours, and nothing else of our environment
        packages = Path(self._folder.name, "packages")
        packages.mkdir()
        (packages / _ROOT.name).symlink_to(_ROOT)
        # a Python before 3.11 has no option -P, and passes over its variable
        self._environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1"}
        about = self._start()
        self.revision: str = about["revision"]
        self.versions: Mapping[str, str] = about["versions"]
        # whether it resizes pictures to `Asked.image_tokens`; others have a way of their own
        self.budgets: bool = about.get("budgets", False)

    def answer(self, asked: Asked) -> str:
        """Ask; raises Gemma4Error with the rival's own words where it fails."""
        if self._process.poll() is not None:
            self._start()
        folder = self._folder.name
        images = [f"{folder}/{number}.png" for number in range(len(asked.images))]
        sounds = [f"{folder}/{number}.wav" for number in range(len(asked.sounds))]
        for path, image in zip(images, asked.images, strict=True):
            image.save(path)
        for path, samples in zip(sounds, asked.sounds, strict=True):
            soundfile.write(path, samples, RATE)
        same = ("before", "text", "image_tokens", "most", "layout")
        question = {name: getattr(asked, name) for name in same}
        question |= {"images": images, "sounds": sounds}
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and nothing is read then
            print(json.dumps(question), file=self._process.stdin, flush=True)
        reply = self._read()
        if "failed" in reply:
            raise self._failed("failed", reply["failed"])
        return str(reply["given"])

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def _start(self) -> dict[str, Any]:
        """Start its process; return what it reports of itself."""
        try:
            self._process = subprocess.Popen(
                [self._python, "-m", f"{__package__}.programs", self._program, self._choice],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us: a rival ends when its input does
            )
        except OSError as error:
            cause = f"{self._python}: {error.strerror}."
            raise self._failed("cannot be started", cause, _PYTHON) from error
        about = self._read()
        if "revision" not in about:
            self._process.communicate()
        if "absent" in about:
            raise Gemma4Error(
                "baseline_missing", f"{self.name} is not there", about["absent"], about["remedy"]
            )
        if "failed" in about:
            raise self._failed("cannot start", about["failed"])
        return about

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            cause = f"Its process stopped with status {self._process.wait()}."
            raise self._failed("has ended", cause)
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            self._process.kill()  # nobody knows what else it would print
            self._process.wait()
            printed = f"Its process printed {line.strip()[:80]!r} where an answer was due."
            raise self._failed("is not understood", printed, _PYTHON)
        return reply

    def _failed(self, what: str, cause: str, remedy: str = "See what it printed.") -> Gemma4Error:
        return Gemma4Error("baseline_failed", f"{self.name} {what}", cause, remedy)
