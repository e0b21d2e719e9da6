"""A rival as the subject of a question: the same items, over pipes to a process of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from ...errors import Gemma4Error
from ...sound import RATE
from ..question import Asked


@dataclass(frozen=True)
class Known:
    """A rival that the program knows.

    Attributes:
        module: of this folder; it runs as a process.
        takes: what it understands.
        about: a sentence for --help.
        instructed: whether it reads the question's words; a recognizer only writes down.
    """

    module: str
    takes: frozenset[str]
    about: str
    instructed: bool = False


KNOWN = {
    "tesseract": Known("tesseract", frozenset({"image"}), "Tesseract's text recognition"),
    "pocketsphinx": Known("pocketsphinx", frozenset({"sound"}), "CMU's small speech recognizer"),
    "mlx-whisper": Known("mlx_whisper", frozenset({"sound"}), "OpenAI's Whisper on MLX"),
    "mlx-vlm": Known(
        "mlx_vlm", frozenset({"text", "image", "sound"}), "any model that mlx-vlm runs", True
    ),
}


class Rival:
    """A running rival.

    Args:
        name: of KNOWN; with `:MODEL` after it where the rival has several.
        python: the interpreter of the environment in which the rival is installed.

    Raises:
        Gemma4Error: there is no such rival, or it is not installed.
    """

    recipe = ""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        base, _, model = name.partition(":")
        if base not in KNOWN:
            raise Gemma4Error(
                f"There is no baseline {base}",
                "It is none that this program can run.",
                f"Take {', '.join(KNOWN)}.",
            )
        self.name, self.known = name, KNOWN[base]
        self.takes = self.known.takes
        self._folder = tempfile.TemporaryDirectory(prefix="gemma4-")
        package = __package__ or ""
        self._process = subprocess.Popen(
            [python, "-m", f"{package}.{self.known.module}", model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        about = self._read()
        if "absent" in about:
            self.close()
            raise Gemma4Error(f"{base} is not installed", about["absent"], about["remedy"])
        self.revision: str = about["revision"]
        self.versions: Mapping[str, str] = about["versions"]

    def answer(self, asked: Asked) -> str:
        """Ask; raises Gemma4Error with the rival's own words where it fails."""
        folder = Path(self._folder.name)
        images, sounds = [], []
        for number, image in enumerate(asked.images):
            image.save(path := folder / f"{number}.png")
            images.append(str(path))
        for number, samples in enumerate(asked.sounds):
            soundfile.write(path := folder / f"{number}.wav", samples, RATE)
            sounds.append(str(path))
        question = {"text": asked.text, "images": images, "sounds": sounds, "most": asked.most}
        assert self._process.stdin is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None
        told = self._read()
        if "failed" in told:
            raise Gemma4Error(f"{self.name} failed", told["failed"], "See what it printed.")
        return str(told["given"])

    def close(self) -> None:
        """End its process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        told: dict[str, Any] = json.loads(line)
        return told

    def _ended(self) -> Gemma4Error:
        return Gemma4Error(
            f"{self.name} has ended",
            f"Its process stopped with status {self._process.wait()}.",
            "See what it printed above.",
        )
