"""Short runs on a small model: a kill costs no bit, and what a run leaves in its folder."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import mlx_gemma4
from mlx_gemma4.checkpoint import adapters
from mlx_gemma4.cli import main
from mlx_gemma4.tune import job, plot, state
from mlx_gemma4.tune.schedule import TuneSettings
from mlx_gemma4.tune.sources import lines_of

STEPS, KILLED = 5, 4
KILL = """
import os, signal, sys
from mlx_gemma4.cli import main
from mlx_gemma4.tune import job

log = job._log

def killed(path, step):
    log(path, step)
    if step.number == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

job._log, job.SAVE_EVERY = killed, 2
main(sys.argv[2:])
"""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SAVE_EVERY", 2)


@pytest.fixture(scope="module", autouse=True)
def uncompiled() -> Iterator[None]:
    """On a CPU MLX compiles by starting a compiler: here that takes longer than the training."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 96, 3), np.uint8)).save(
        place / "noise.png"
    )
    lines = []
    for number in range(5):
        asked: list[dict[str, str]] = [{"type": "text", "text": f"what {number}"}]
        if number % 2:
            asked.insert(0, {"type": "image", "path": "noise.png"})
        answer = {"role": "assistant", "content": f"number {number}"}
        lines.append(json.dumps({"messages": [{"role": "user", "content": asked}, answer]}))
    (place / "lines.jsonl").write_text("\n".join(lines))
    return place / "lines.jsonl"


def arguments(data: Path, folder: Path, out: Path, *more: str) -> list[str]:
    own = ["--steps", str(STEPS), "--batch", "2", "--rank", "2", "--rate", "2e-3"]
    return ["tune", str(data), "--model", str(folder), "-o", str(out), *own, *more]


@pytest.fixture(scope="module")
def whole(data: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "adapter"
    assert main(arguments(data, folder, out, "--replay", str(data))) == 0
    return out


@pytest.mark.parametrize("step", [1, KILLED])
def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits(
    whole: Path, data: Path, folder: Path, tmp_path: Path, step: int
) -> None:
    out = tmp_path / "adapter"
    command = arguments(data, folder, out, "--replay", str(data))
    process = subprocess.run(
        [sys.executable, "-c", KILL, str(step), *command],
        capture_output=True,
        env=os.environ | {"MLX_DISABLE_COMPILE": "1"},
    )
    assert process.returncode == -signal.SIGKILL
    assert not (out / adapters.WEIGHTS).exists()
    assert main([*command, "--resume"]) == 0
    assert (out / adapters.WEIGHTS).read_bytes() == (whole / adapters.WEIGHTS).read_bytes()
    steps = [json.loads(line)["number"] for line in (out / job.LOG).read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.parametrize("changed", ["lines.jsonl", "noise.png"])
def test_a_run_is_not_resumed_with_other_lines_or_pictures(data: Path, changed: str) -> None:
    before, content = state.digest(lines_of(data, "")), (data.parent / changed).read_bytes()
    assert state.digest(lines_of(data, "")) == before
    (data.parent / changed).write_bytes(content.replace(b"number 3", b"number 4") + b"\n")
    after = state.digest(lines_of(data, ""))
    (data.parent / changed).write_bytes(content)
    assert after != before


def test_a_run_leaves_a_plot_of_its_losses(whole: Path, tmp_path: Path) -> None:
    with Image.open(whole / plot.FILE) as picture:
        drawn = np.asarray(picture.convert("L"))
    assert (drawn < 128).mean() > 0.001  # axes and lines, not an empty sheet


def test_without_its_library_there_is_no_plot(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / job.LOG).write_bytes((whole / job.LOG).read_bytes())
    assert plot.write(tmp_path / job.LOG) is None


def test_an_adapter_in_pefts_form_is_the_same_adapter(
    whole: Path, data: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "peft"
    command = arguments(data, folder, out, "--replay", str(data), "--format", "peft")
    assert main(command) == 0
    assert not (out / adapters.WEIGHTS).exists()
    assert json.loads((out / "adapter_config.json").read_text())["peft_type"] == "LORA"
    one, other = (mlx_gemma4.load(folder, adapter=place) for place in (whole, out))
    assert np.array_equal(one.forward([2, 4, 30]), other.forward([2, 4, 30]))


def test_nothing_is_resumed_where_nothing_was_saved(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(data, folder, tmp_path / "a", "--resume", "--replay", "auto")) == 2
    assert "nothing to resume" in capsys.readouterr().err


def test_a_damaged_state_is_an_error_with_a_way_out(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, saved = state.Run(TuneSettings(0.1), "m", "l"), tmp_path / state.FILE
    state.save(tmp_path, state.State(1, {"a": mx.zeros(2)}, {"m": mx.zeros(2)}), run)
    names = (b"settings", b"trained", b"optimizer")
    for content in (b"cut off", *(saved.read_bytes().replace(name, name[::-1]) for name in names)):
        saved.write_bytes(content)
        assert main(arguments(data, folder, tmp_path, "--resume")) == 2
        told = capsys.readouterr().err
        assert "is damaged" in told and "another folder (-o)" in told
        assert saved.read_bytes() == content


def test_a_state_that_is_damaged_within_is_an_error_too(
    data: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as interrupted:
        interrupted.setattr(job, "_log", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        main(arguments(data, folder, tmp_path))
    saved = tmp_path / state.FILE
    run = mx.load(str(saved), return_metadata=True)[1]
    tensors = {name.replace("lora_a", "lora_x"): one for name, one in mx.load(str(saved)).items()}
    mx.save_safetensors(str(saved), tensors, metadata=run)
    assert main(arguments(data, folder, tmp_path, "--resume")) == 2
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_folders_place_is_reported_before_anything_is_drawn(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    (tmp_path / "a").write_text("kept")
    command = arguments(data, folder, tmp_path / "a" / below, "--replay", "auto")
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "is a file" in told
    assert "data:" not in told
    assert (tmp_path / "a").read_text() == "kept"


@pytest.mark.parametrize("name", ["log.jsonl", "replay.jsonl", "loss.png"])
def test_what_lies_in_the_folder_is_not_written_over(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_bytes(data.read_bytes())
    assert main(arguments(data, folder, tmp_path, "--replay", "auto")) == 2
    assert f"has {name} already" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == data.read_bytes()


def test_a_disk_that_fills_up_is_reported(
    data: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mlx_gemma4.hub.disk.free", lambda _: 1000)
    assert main(arguments(data, folder, tmp_path / "a")) == 2
    assert "The disk is too small" in capsys.readouterr().err
    assert not (tmp_path / "a" / adapters.WEIGHTS).exists()


def test_a_loss_that_is_not_finite_names_its_line(
    data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = arguments(data, folder, tmp_path / "a", "--scale", "1e8")
    own[own.index("--rate") + 1] = "1e8"
    assert main(own) == 2
    assert "The loss of lines.jsonl, line" in capsys.readouterr().err


def test_a_run_that_does_not_fit_is_refused_before_its_first_step(
    data: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlx_gemma4.footprint import device
    from mlx_gemma4.footprint.estimate import Machine

    budgets = iter([10_000_000])  # the model itself is loaded as usual
    real = device.this

    def this() -> Machine:
        budget = next(budgets, None)
        return Machine("this computer", budget, "a test", "cpu", 4) if budget else real()

    monkeypatch.setattr(device, "this", this)
    assert main(arguments(data, folder, tmp_path / "a")) == 2
    told = capsys.readouterr().err
    assert "The training does not fit into the memory" in told
    assert "this computer has 0.01 GB" in told
    assert not (tmp_path / "a").exists()
