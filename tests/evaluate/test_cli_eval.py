"""`gemma4 eval`: what it refuses, and that the same command goes on after Ctrl-C."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_gemma4 import cli, evaluate
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.baselines import rival
from mlx_gemma4.evaluate.models import OurModel
from tests.evaluate.counting import Counting, Parrot

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `gemma4 eval ocr ARGUMENTS`, with counting in place of ocr; status, stdout, stderr."""
    monkeypatch.setattr(evaluate, "named", lambda name: Counting())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(["eval", "ocr", "--model", str(folder), *arguments])
        return status, *capsys.readouterr()

    return run


def answers(monkeypatch: pytest.MonkeyPatch, parrot: Parrot) -> None:
    """Let every model answer as a parrot does."""
    monkeypatch.setattr(OurModel, "answer", lambda self, asked: parrot.answer(asked))


def test_the_report_goes_to_stdout_and_all_else_to_stderr(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, Parrot(wrong=["number 0"]))
    status, out, err = run("--limit", "4")
    assert status == 0
    assert (
        "0.750 [0.3" in out and out == (tmp_path / "out/eval/counting/report.md").read_text() + "\n"
    )
    assert "out/eval/counting" in err and "results.jsonl" in err


def test_the_question_may_follow_an_option_with_several_values(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    answers(monkeypatch, Parrot())
    assert cli.main(["eval", "--model", str(folder), "ocr"]) == 0
    assert cli.main(["eval", "--model", str(folder)]) == 2
    assert cli.main(["eval", "--model", "ocr"]) == 2


def test_progress_in_a_pipe_names_the_item_that_is_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, Parrot())
    _, _, err = run()
    assert err.splitlines()[0].startswith("counting, ") and "step 1 of 6" in err


def test_after_ctrl_c_the_same_command_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = Parrot(stop_at=3), Parrot()
    answers(monkeypatch, first)
    assert run("--out", "here")[0] == 130
    assert len((tmp_path / "here/results.jsonl").read_text().splitlines()) == 3
    answers(monkeypatch, second)
    status, out, _ = run("--out", "here")
    assert status == 0 and "| 6 |" in out
    assert first.asked + second.asked == [f"number {n}" for n in range(6)]


def test_items_that_fail_are_told_and_the_rest_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, Parrot(silent=["number 1"]))
    status, out, _ = run()
    assert status == 0 and "number 1 cannot be said" in out and "1.000 [" in out


def test_a_run_in_which_everything_fails_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, Parrot(silent=[f"number {n}" for n in range(6)]))
    status, out, err = run()
    assert status == 2 and "Nothing could be measured" in err and "cannot be said" in out


def test_models_given_twice_are_asked_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    parrot = Parrot()
    answers(monkeypatch, parrot)
    assert run("--model", str(folder))[0] == 0
    assert len(parrot.asked) == 6


def test_weights_that_have_changed_are_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    answers(monkeypatch, Parrot())
    command = ["eval", "ocr", "--model", str(copy)]
    assert cli.main(command) == 0
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "note": "changed"}))
    assert cli.main(command) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sets", "numbers", "letters"], "There is no set letters"),
        (["--limit", "0"], "--limit is out of range"),
        (["--limit", "many"], "not understood"),
        (["--against", "hal"], "There is no baseline hal"),
        (["--against", "tesseract"], "cannot be asked this"),
        (["--against", "mlx-vlm:model", "--python", "no/python"], "cannot be started"),
        (["--model", "no/such/model"], "no/such/model"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rival.Rival, "_start", started(rival.Rival._start))
    status, _, err = run(*arguments)
    assert status == 2 and said in err and "Remedy:" in err
    assert not (tmp_path / "out").exists()


def started(start: Callable[[rival.Rival], dict[str, object]]) -> Callable[..., dict[str, object]]:
    """Let tesseract be there without a process."""

    def instead(self: rival.Rival) -> dict[str, object]:
        if self.name == "tesseract":
            return {"revision": "1", "versions": {}}
        return start(self)

    return instead


def test_a_rival_that_is_absent_is_told_with_its_remedy(run: Run, tmp_path: Path) -> None:
    (tmp_path / "python").write_text(
        '#!/bin/sh\necho \'{"absent": "It is not here.", "remedy": "Fetch it."}\'\n'
    )
    (tmp_path / "python").chmod(0o755)
    status, _, err = run("--against", "mlx-vlm:model", "--python", str(tmp_path / "python"))
    assert status == 2
    assert "Cause: It is not here." in err and "Remedy: Fetch it." in err


@pytest.mark.parametrize("package", ["scipy", "matplotlib"])
def test_without_the_extra_it_says_how_to_install_it(
    package: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, _, err = run()
    assert status == 2
    assert f"The Python package {package} is not installed." in err
    assert "pip install 'mlx-gemma4[evaluate]'" in err


def test_a_python_without_its_reference_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pydoc_data", "pydoc_data.topics"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "mlx_gemma4.evaluate.haystack", raising=False)
    haystack = importlib.import_module("mlx_gemma4.evaluate.haystack")
    with pytest.raises(Gemma4Error) as caught:
        haystack.text()
    assert caught.value.code == "text_missing"


def test_an_unknown_question_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "taste"]) == 2
    assert "taste" in capsys.readouterr().err


def test_the_drafter_says_that_there_is_none(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--model", str(folder), "--out", str(tmp_path)]
    assert cli.main(["eval", "drafter", *chosen]) == 2
    assert "No drafter is installed" in capsys.readouterr().err
