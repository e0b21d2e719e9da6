"""Processes that the program starts take no module from the working directory."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_gemma4.capture import portaudio
from mlx_gemma4.cli.selftest import processes
from mlx_gemma4.evaluate import footprint
from mlx_gemma4.hub import catalog


def checked() -> bool:
    (row,) = processes.run(catalog.DEMONSTRATION, False, ["device"], lambda name: None)
    return row.outcome.status == "pass"


def measured() -> bool:
    folder = catalog.resolve(catalog.DEMONSTRATION)
    return bool(footprint.measure(folder, 256, None, force=True)["load"])


def tried() -> bool:
    portaudio._try()  # raises where the process was ended
    return True


@pytest.mark.parametrize("start", [checked, measured, tried])
def test_a_file_of_the_users_is_not_run_in_place_of_a_module(
    start: Callable[[], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(tmp_path) not in sys.path
    for name in ("random", "json", "sounddevice"):
        (tmp_path / f"{name}.py").write_text("import os\nos.abort()\n")
    monkeypatch.chdir(tmp_path)
    assert start()
