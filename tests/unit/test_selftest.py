import errno
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4 import cli
from mlx_gemma4.cli.selftest import caches, parity, random_checkpoint, reference
from mlx_gemma4.cli.selftest.answers import _right
from mlx_gemma4.cli.selftest.check import Outcome, SelfCheck
from mlx_gemma4.cli.selftest.processes import FinishedCheck
from mlx_gemma4.cli.selftest.record import _published
from mlx_gemma4.cli.selftest.reference import SHIPPED, of_model, recorded
from mlx_gemma4.cli.selftest.report import report
from mlx_gemma4.cli.selftest.table import CHECKS, NAMES
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.surroundings import revision
from mlx_gemma4.hub import catalog
from mlx_gemma4.model import attention
from mlx_gemma4.model import cache as kv

TINY = catalog.shipped("assets/tiny")
TENSORS = Path(__file__).parents[1] / "oracle" / "tensors.json"


@pytest.fixture
def model() -> OurModel:
    return OurModel(catalog.DEMONSTRATION)


def found(name: str, model: OurModel) -> Outcome:
    return next(check for check in CHECKS if check.name == name).run(model)


def changed(folder: Path) -> Path:
    """A copy of the tiny model of which one tensor is not the same."""
    shutil.copytree(TINY, folder)
    weights = mx.load(str(folder / "model.safetensors"))
    name = "language_model.model.layers.3.self_attn.q_norm.weight"
    weights[name] = 1.5 * weights[name]
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


@pytest.mark.parametrize(
    "name",
    ["device", "random, float32", "random, bfloat16", "tiny, float32", "tiny, bfloat16",
     "rows in 8 bits", "rows in 4 bits", "receipt", "digits", "spoken question", "second turn",
     "4 bits", "seeds"],
)  # fmt: skip
def test_a_row_passes_here(name: str, model: OurModel) -> None:
    outcome = found(name, model)
    assert outcome.status == "pass", outcome.seen


def test_the_mask_that_lets_rows_see_ahead_is_found(
    model: OurModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = lambda queries, keys, *_: np.ones((len(queries), len(keys)), bool)  # noqa: E731
    monkeypatch.setattr(attention, "visible", everything)
    assert found("random, float32", model).status == "fail"
    assert found("random, bfloat16", model).status == "fail"


def test_a_cache_that_writes_a_row_too_early_is_found(
    model: OurModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = kv.Rows.write

    def early(rows: kv.Rows, offset: int, new: tuple[mx.array, ...]) -> None:
        write(rows, max(rows.start, offset - 1), new)

    monkeypatch.setattr(kv.Rows, "write", early)
    monkeypatch.setattr(caches, "SCHEDULES", 6)
    outcome = found("cache", model)
    assert outcome.status == "fail" and outcome.figures["failed"] > 0
    assert found("random, float32", model).status == "fail"


def test_schedules_pass_where_nothing_was_planted(
    model: OurModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "SCHEDULES", 6)
    assert found("cache", model) == Outcome("pass", "6 random schedules, 0 failed", {"failed": 0})


def test_a_changed_tensor_of_the_shipped_model_is_found(
    model: OurModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = changed(tmp_path / "tiny")
    monkeypatch.setattr(parity.catalog, "resolve", lambda name: folder)
    for name in ("tiny, float32", "tiny, bfloat16"):
        outcome = found(name, model)
        assert outcome.status == "fail" and outcome.figures["largest_difference"] > 0.5


def test_the_command_names_the_row_that_fails_and_its_report_has_nothing_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(tmp_path / "annas-secret" / "my model")
    monkeypatch.chdir(tmp_path)
    rows = ["digits", "this model", "device"]
    assert cli.main(["selftest", "--model", str(folder), "--only", *rows]) == 2
    printed = capsys.readouterr()
    assert "fail      this model" in printed.out and "pass      device" in printed.out
    assert "Rows that failed: this model" in printed.err
    text = (tmp_path / "gemma4-selftest.json").read_text()
    written = json.loads(text)
    assert [row["name"] for row in written["rows"]] == ["device", "this model", "digits"]
    assert {row["name"]: row["status"] for row in written["rows"]}["this model"] == "fail"
    for private in ("annas-secret", "my model", str(tmp_path), platform.node(), "40715"):
        assert private not in text


def test_without_model_what_get_brought_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "default", lambda: "tiny-4bit")
    assert cli.main(["selftest", "--only", "device"]) == 0
    assert "selftest, tiny-4bit (" in capsys.readouterr().out


def test_a_row_whose_process_dies_has_failed_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom mlx_gemma4.cli.selftest import answers\n"
        "answers.seeds = lambda model: os.abort()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from mlx_gemma4.cli import main; sys.exit(main())",
         "selftest", "--only", "seeds", "digits", "memory"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 2
    lines = {line[10:].split("  ")[0]: line for line in done.stdout.splitlines() if line}
    assert lines["seeds"].startswith("fail") and "status -6" in lines["seeds"]
    assert lines["digits"].startswith("pass") and lines["memory"].startswith("pass")


def test_a_model_without_a_reference_is_not_compared(folder: Path) -> None:
    outcome = found("this model", OurModel(str(folder)))
    assert outcome.status == "not here" and "--record" in outcome.seen


def test_files_that_macos_leaves_beside_others_are_no_weights_and_no_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    before = revision(folder)
    recorded().mkdir(parents=True)
    for place in (folder / "._model.safetensors", folder / "._x.json", recorded() / "._x.npz"):
        place.write_bytes(b"\0\5\x16\7")
    with _published(folder) as published:
        names = {path.name for path in published.iterdir()}
        assert "model.safetensors" in names and not any(name.startswith(".") for name in names)
    assert of_model(folder) is not None
    assert revision(folder) == before


def test_an_error_is_shown_in_the_table_and_only_its_code_is_in_the_report() -> None:
    def ends(_: OurModel) -> Outcome:
        raise Gemma4Error("some_code", "A title", "Its cause names /home/anna.", "Do this.")

    outcome = SelfCheck("row", "", ends).run(None)  # type: ignore[arg-type]
    assert outcome.status == "fail" and "/home/anna" in outcome.seen
    (row,) = report([FinishedCheck("row", outcome, 0.1)], {})["rows"]
    assert row["code"] == "some_code" and "anna" not in json.dumps(row)


@pytest.mark.parametrize(
    ("answer", "wanted", "right"),
    [
        ("The total is $19.56.", "19.56", True),
        ("119.56", "19.56", False),
        ("4 0 7 1 5", "40715", True),
        ("four, zero, seven, one, five", "40715", True),
        ("407155", "40715", False),
        ("", "40715", False),
    ],
)
def test_an_answer_is_right_where_it_has_the_number_alone(
    answer: str, wanted: str, right: bool
) -> None:
    assert (_right(answer, wanted).status == "pass") == right


def test_rows_that_are_not_known_are_named() -> None:
    assert cli.main(["selftest", "--only", "nothing"]) == 2
    assert len(set(NAMES)) == len(NAMES) >= 18


def test_the_random_checkpoint_has_the_tensors_that_transformers_wrote() -> None:
    expected = {name: tuple(shape) for name, shape in json.loads(TENSORS.read_text()).items()}
    assert random_checkpoint.tensors() == expected


def test_the_shipped_references_are_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 3 * 2**20


def test_a_reference_that_a_full_disk_cuts_off_is_one_error_and_no_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Gemma4Error, match="The disk is full"):
        reference.read(reference.SHIPPED / "tiny.npz").save(tmp_path / "new" / "a.npz")
    assert not list(tmp_path.rglob("*.npz"))


def test_a_folder_of_ones_own_is_not_named_by_its_revision(tmp_path: Path) -> None:
    shutil.copytree(TINY, place := tmp_path / "snapshots" / "of anna")
    assert revision(place) == revision(TINY)
