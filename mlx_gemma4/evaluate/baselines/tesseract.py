"""Tesseract as a rival: its own command reads the whole picture, at the size it was drawn.

`tesseract:deu` reads with another language's data. Small print would be read better if it were
enlarged first; that is not done, since the command does not do it.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from .serve import Absent, Answer, serve

_LANGUAGE = "eng"
# How a page is cut up (tesseract --help-psm): 6 one block of text, 3 whatever it finds. The best of
# 3, 4 and 6 on 12 pages of each set (seed 7, tesseract 5.3.0): with 3 the error rate of tables was
# 0.54 instead of 0.07, with 6 that of columns 0.67 instead of 0.06.
_MODES = {"block": "6", "page": "3"}


def begin(language: str) -> tuple[Mapping[str, Any], Answer]:
    """Find the command and its language."""
    command = shutil.which("tesseract")
    if command is None:
        raise Absent(
            "The command tesseract was not found.",
            "Mac: brew install tesseract. Debian, Ubuntu: apt install tesseract-ocr.",
        )
    language = language or _LANGUAGE
    known = _run(command, "--list-langs").split()
    if missing := [part for part in language.split("+") if part not in known]:
        raise Absent(
            f"Tesseract is there without its data for {missing[0]}.",
            "Mac: brew install tesseract-lang. Debian, Ubuntu: apt install "
            f"tesseract-ocr-{missing[0].replace('_', '-')}.",
        )
    version = _run(command, "--version").split()[1]

    def answer(asked: Mapping[str, Any]) -> str:
        mode = _MODES[asked["layout"] or "page"]
        pages = [
            _run(command, image, "stdout", "-l", language, "--psm", mode)
            for image in asked["images"]
        ]
        return "\n".join(pages).strip()

    return {"revision": language, "versions": {"tesseract": version}}, answer


def _run(*command: str) -> str:
    # one thread: with more, a page took three to four times as long on two busy cores
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    serve(begin)
