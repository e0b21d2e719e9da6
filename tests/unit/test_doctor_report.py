from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_gemma4 import cli
from mlx_gemma4.cli import doctor
from mlx_gemma4.cli.doctor import Finding
from mlx_gemma4.cli.doctor_report import lines

SECRET = "annas-secret"
PLANTED = [
    Finding("ok", "microphone", f"{SECRET} AirPods"),
    Finding("warning", "microphone", f"there is none ({SECRET})", "Plug one in."),
    Finding(
        "warning", "disk", f"3.5 GB free where models go (/Users/{SECRET}/cache)", "Make room."
    ),
    Finding("ok", "catalogue", f"7 packages are known; your own go into /Users/{SECRET}/P.toml"),
    Finding("ok", "model", f"{SECRET}: 7.10 GB, fits with up to 4,096 tokens"),
    Finding("problem", "model", f"{SECRET}: /Users/{SECRET}/config.json is empty", "Repair it."),
    Finding("warning", "models", f"it could not be checked (OSError: /Users/{SECRET})", "Report."),
    Finding("problem", "memory", f"MLX cannot be loaded: {SECRET}", "Install it."),
    Finding("ok", "something new", SECRET),
]


def test_what_is_a_users_own_is_in_no_line_of_the_report() -> None:
    shown = list(lines(PLANTED))
    assert SECRET not in "\n".join(shown) and "/Users" not in "\n".join(shown)
    found = [line.split(maxsplit=1) for line in shown[-len(PLANTED) :]]
    assert [level for level, _ in found] == [finding.level for finding in PLANTED]
    text = "\n".join(shown)
    for kept in (
        "3.5 GB free",
        "7 packages are known",
        "one of yours: 7.10 GB, fits with up to 4,096",
    ):
        assert kept in text
    assert "it could not be checked (OSError)" in text


def test_the_command_reports_this_machine_without_its_home_or_a_model_of_its_own(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / SECRET
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
    own = f"{SECRET}/model"
    monkeypatch.setattr(doctor, "_installed", lambda: iter([("tiny", folder), (own, folder)]))
    assert cli.main(["doctor", "--report"]) == 0
    printed = capsys.readouterr().out
    assert SECRET not in printed and str(tmp_path) not in printed
    assert "tiny: " in printed and "one of yours: " in printed
    assert "mlx-gemma4 " in printed and "GB free where models go" in printed
