"""Speech recognizers as rivals: PocketSphinx itself, and the Whispers with fakes as libraries."""

import importlib.util
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.baselines.rival import Rival
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.question import Asked, Choice
from mlx_gemma4.evaluate.run import run
from mlx_gemma4.evaluate.speech import QUESTION

# Each transcribes how many samples it was given, how loud they are, and of which model it is.
MLX_WHISPER = """
def transcribe(audio, *, path_or_hf_repo):
    return {"text": f" {audio.dtype} {len(audio)} {abs(audio).max():.2f} {path_or_hf_repo} "}
"""
FASTER_WHISPER = """
from types import SimpleNamespace

class WhisperModel:
    def __init__(self, model, device, compute_type):
        self.about = f"{model} {device} {compute_type}"

    def transcribe(self, audio):
        said = f" {audio.dtype} {len(audio)} {abs(audio).max():.2f}"
        return iter([SimpleNamespace(text=said), SimpleNamespace(text=f" {self.about}")]), None

def download_model(name, local_files_only):
    raise ValueError(f"Invalid model size {name}")
"""
Python = Callable[[str, str], str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Make an environment in which a module is this text; return its interpreter."""

    def make(module: str, text: str) -> str:
        packages, path = tmp_path / "packages", tmp_path / "python"
        packages.mkdir()
        (packages / f"{module}.py").write_text(text)
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} "$@"\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def half_loud(count: int) -> Asked:
    return Asked("", sounds=(np.full(count, 0.5, np.float32),))


@pytest.mark.parametrize(
    ("name", "library", "about"),
    [("mlx-whisper", MLX_WHISPER, ""), ("faster-whisper", FASTER_WHISPER, " cpu int8")],
)
def test_whisper_gets_the_samples_and_its_model(
    python: Python, folder: Path, name: str, library: str, about: str
) -> None:
    rival = Rival(f"{name}:{folder}", python(name.replace("-", "_"), library))
    assert rival.answer(half_loud(1600)) == f"float32 1600 0.50 {folder}{about}"
    assert rival.answer(half_loud(9)) == f"float32 9 0.50 {folder}{about}"
    rival.close()


@pytest.mark.parametrize(
    ("name", "library"), [("mlx-whisper", MLX_WHISPER), ("faster-whisper", FASTER_WHISPER)]
)
def test_a_whisper_that_was_not_fetched_is_told_with_the_command(
    python: Python, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, library: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(Gemma4Error, match="on this machine") as caught:
        Rival(name, python(name.replace("-", "_"), library))
    command = re.match(r'(\S+) -c "(.*)", or', caught.value.remedy)
    assert command is not None and Path(command[1]).is_file()
    compile(command[2], "", "exec")
    assert "snapshot_download" in command[2] and "whisper-small" in command[2]


@pytest.mark.parametrize("name", ["mlx-whisper", "faster-whisper", "pocketsphinx"])
def test_a_recognizer_that_is_not_installed_is_told_with_its_extra(
    python: Python, name: str
) -> None:
    module = name.replace("-", "_")
    missing = f"raise ModuleNotFoundError('No module named {module}', name='{module}')\n"
    with pytest.raises(Gemma4Error, match=f"package {module} is not installed") as caught:
        Rival(name, python(module, missing))
    assert f"mlx-gemma4[{name}]" in caught.value.remedy


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
@pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)
def test_pocketsphinx_and_the_tiny_model_stand_in_one_table(tmp_path: Path) -> None:
    choice = Choice(limit=1, sets=("tiny", "position"), tiny=True, work=tmp_path)
    rows = run(QUESTION, [Rival("pocketsphinx"), OurModel("tiny")], choice, tmp_path)
    assert not any(row.failed for row in rows)
    by = {name: {r.item for r in rows if r.model == name} for name in ("pocketsphinx", "tiny")}
    assert len(by["pocketsphinx"]) == 3 and by["pocketsphinx"] < by["tiny"]
    overview = next(part for part in QUESTION.report(rows) if hasattr(part, "rows"))
    assert [line[:2] for line in overview.rows] == [["tiny", "2"], ["position", "1"]]
