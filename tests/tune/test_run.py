"""Whole runs on a small random model: the same bits whatever happens, and what they leave."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from PIL import Image

import mlx_gemma4
from mlx_gemma4.checkpoint import adapters
from mlx_gemma4.cli import main
from mlx_gemma4.tune import job

pytestmark = pytest.mark.long  # whole trainings, one after another
KILLS = int(os.environ.get("GEMMA4_KILLS", "2"))
STEPS = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (96, 144, 3), np.uint8)).save(folder / f"{number}.png")
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.5, 0.5, 4000), 16000)
        content = [
            {"type": "image", "path": f"{number}.png"},
            {"type": "text", "text": "which number"},
            {"type": "audio", "path": f"{number}.wav"},
        ]
        messages = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": f"number {number}"},
        ]
        lines.append(json.dumps({"messages": messages}) + "\n")
    (folder / "lines.jsonl").write_text("".join(lines))
    return folder / "lines.jsonl"


def arguments(data: Path, folder: Path, out: Path, *more: str) -> list[str]:
    own = ["--steps", str(STEPS), "--batch", "2", "--rate", "2e-3", "--seed", "3"]
    return ["tune", str(data), "--model", str(folder), "-o", str(out), *own, *more]


@pytest.fixture(scope="module")
def whole(data: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "adapter"
    assert main(arguments(data, folder, out)) == 0
    return out


def same(one: Path, other: Path) -> bool:
    return (one / adapters.WEIGHTS).read_bytes() == (other / adapters.WEIGHTS).read_bytes()


def test_a_run_learns_what_it_is_shown(whole: Path) -> None:
    steps = [json.loads(line) for line in (whole / job.LOG).read_text().splitlines()]
    assert [step["number"] for step in steps] == list(range(1, STEPS + 1))
    assert steps[-1]["loss"] < steps[0]["loss"] / 2


def test_the_adapter_is_read_again_and_changes_the_answers(whole: Path, folder: Path) -> None:
    plain = mlx_gemma4.load(folder).forward([2, 4, 30, 31])
    model = mlx_gemma4.load(folder, adapter=whole)
    assert mx.abs(model.forward([2, 4, 30, 31]) - plain).max().item() > 0.1
    assert not (whole / "training.safetensors").exists()


def killed(command: list[str], seconds: float) -> int:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from mlx_gemma4.cli import main; raise SystemExit(main())",
            *command,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"MLX_DISABLE_COMPILE": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"step"):
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_runs_that_are_killed_and_resumed_end_with_the_same_bits(
    whole: Path, data: Path, folder: Path, tmp_path: Path
) -> None:
    moments, ends, kills = random.Random(7), 0, 0
    while kills < KILLS or ends == 0:
        out = tmp_path / f"adapter-{ends}"
        resumed = ["--resume"] if (out / "training.safetensors").exists() else []
        command = arguments(data, folder, out, *resumed)
        if kills < KILLS:
            code = killed(command, moments.uniform(0, 1.2))
            assert code in (0, -signal.SIGKILL)
            kills += code != 0
        else:
            assert main(command) == 0
        if (out / adapters.ADAPTER_SETTINGS).exists() and not (
            out / "training.safetensors"
        ).exists():
            assert same(out, whole)
            log = (out / job.LOG).read_text().splitlines()
            assert [json.loads(line)["number"] for line in log] == list(range(1, STEPS + 1))
            ends += 1


@pytest.mark.parametrize("stop", [1, 9, 10, 21])
def test_a_run_that_stops_after_any_step_can_be_resumed(
    whole: Path,
    data: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    out, log = tmp_path / "adapter", job._log

    def interrupted(path: Path, step: object) -> None:
        log(path, step)  # type: ignore[arg-type]
        if step.number == stop:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "_log", interrupted)
    assert main(arguments(data, folder, out)) == 130
    monkeypatch.setattr(job, "_log", log)
    assert main(arguments(data, folder, out)) == 2  # it would write over what there is
    assert main(arguments(data, folder, out, "--resume")) == 0
    assert same(out, whole)


Failing = Callable[..., str]


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Failing:
    def failing(*command: str) -> str:
        assert main(command) == 2
        return capsys.readouterr().err

    return failing


def test_another_run_is_not_resumed(
    data: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    out, save = tmp_path / "adapter", job.state.save

    def stopped(*given: object) -> None:
        save(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(job.state, "save", stopped)
    assert main(arguments(data, folder, out)) == 130
    assert "--resume" in failing(*arguments(data, folder, out))
    told = failing(*arguments(data, folder, out, "--resume", "--rank", "4"))
    assert "It was started with rank 8." in told


def test_a_full_disk_keeps_what_was_saved_before(
    data: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    monkeypatch.setattr("mlx_gemma4.hub.disk.free", lambda _: 1000)
    assert "The disk is too small" in failing(*arguments(data, folder, tmp_path / "adapter"))


def test_a_loss_that_is_not_finite_names_the_line(
    data: Path, folder: Path, tmp_path: Path, failing: Failing
) -> None:
    own = arguments(data, folder, tmp_path / "adapter")
    own[own.index("--rate") + 1] = "1e8"
    assert "lines.jsonl, line" in failing(*own, "--scale", "1e8")


def test_a_folder_that_is_in_use_is_left_alone(
    whole: Path, data: Path, folder: Path, failing: Failing
) -> None:
    before = (whole / adapters.WEIGHTS).read_bytes()
    assert "has adapter_config.json already" in failing(*arguments(data, folder, whole))
    assert (whole / adapters.WEIGHTS).read_bytes() == before


@pytest.mark.parametrize(
    "option",
    [
        ("--rank", "0"),
        ("--rate", "-1"),
        ("--batch", "0"),
        ("--replay-share", "1.5"),
        ("--last-layers", "99"),
        ("--epochs", "2"),  # beside --steps
    ],
)
def test_a_setting_that_no_run_can_have_is_refused(
    data: Path, folder: Path, tmp_path: Path, failing: Failing, option: tuple[str, str]
) -> None:
    own = arguments(data, folder, tmp_path / "adapter", *option)
    for refused in (own, [*own, "--dry-run"]):
        assert option[0] in failing(*refused)
    assert not (tmp_path / "adapter").exists()


def test_a_dry_run_reports_what_the_lines_hold(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(data, folder, tmp_path / "adapter", "--dry-run")) == 0
    told = capsys.readouterr().err
    assert "data: 12 conversations" in told
    assert "12 pictures, 3 s of sound" in told
    assert not (tmp_path / "adapter").exists()
