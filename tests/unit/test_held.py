import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_gemma4 import load
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import device, held
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.hub import catalog
from mlx_gemma4.runtime.commands import Load
from mlx_gemma4.runtime.worker import Worker
from tests.runtime.reading import done

HOLDER = """
import sys
from mlx_gemma4.footprint import held
sys.argv = ["/usr/bin/gemma4", "serve", "--port", "1"]
held.hold("gemma-4-12B-it-4bit", int(8e9))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(held, "folder", lambda: tmp_path)
    yield
    held.release()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a model of 8 GB."""
    code = HOLDER.replace(
        "held.hold(",
        f"held.folder = lambda: __import__('pathlib').Path({str(tmp_path)!r})\nheld.hold(",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def machine(monkeypatch: pytest.MonkeyPatch, budget: int, backend: str) -> None:
    place = Machine("this Mac", budget, "what Metal recommends", backend)  # type: ignore[arg-type]
    monkeypatch.setattr(device, "this", lambda: place)


def test_who_holds_how_much_is_known_until_the_program_ends(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert held.others() == [
        held.Holder(holder.pid, "gemma4 serve", "gemma-4-12B-it-4bit", 8_000_000_000)
    ]
    holder.kill()  # without a chance to tidy up
    holder.wait()
    assert held.others() == [] and not list(tmp_path.glob("*.json"))


def test_a_model_that_fits_beside_the_other_is_loaded(
    holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 10_000_000_000, "metal")
    load("tiny")


@pytest.mark.parametrize(("backend", "budget"), [("metal", 8_001_000_000), ("cpu", 1_000_000)])
def test_a_model_that_does_not_fit_beside_the_other_is_refused_before_it_is_read(
    holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, backend: str, budget: int
) -> None:
    machine(monkeypatch, budget, backend)
    with pytest.raises(Gemma4Error) as raised:
        load("tiny")
    error = raised.value
    assert error.code == "model_held" and error.facts["pid"] == holder.pid
    assert f"gemma4 serve (process {holder.pid}) holds gemma-4-12B-it-4bit" in error.cause
    load("tiny", force=True)


def test_a_model_that_fits_nowhere_is_refused_as_before(
    holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 1_000_000, "metal")
    with pytest.raises(Gemma4Error, match="does not fit into the memory"):
        load("tiny")


def test_a_worker_s_process_holds_in_the_name_of_the_program_that_started_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(held.PROGRAM, "77 gemma4 serve")
    assert held.program() == (77, "gemma4 serve")


def test_without_a_folder_nothing_is_known_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(held, "folder", lambda: tmp_path / "file" / "held")
    with held.alone():
        held.hold("tiny", 1)
    assert held.others() == []


def test_a_load_that_fails_behind_the_weights_holds_nothing(tmp_path: Path) -> None:
    drafter = tmp_path / "drafter"
    shutil.copytree(catalog.shipped("assets/tiny-drafter"), drafter)
    config = json.loads((drafter / "config.json").read_text())
    config["text_config"]["sliding_window"] = 7
    (drafter / "config.json").write_text(json.dumps(config))
    with pytest.raises(Gemma4Error):
        load("tiny", drafter=drafter)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("name", ["tiny:missing", "missing"])
def test_a_worker_whose_next_model_cannot_be_loaded_holds_nothing(
    tmp_path: Path, name: str
) -> None:
    with Worker() as worker:
        done(worker, Load("tiny"))
        assert len([*tmp_path.glob("*.json")]) == 1
        with pytest.raises(Gemma4Error):
            done(worker, Load(name))
        assert not list(tmp_path.glob("*.json"))
