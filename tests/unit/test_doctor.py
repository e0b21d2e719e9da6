import importlib.util
import json
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from mlx_gemma4 import cli
from mlx_gemma4.capture import portaudio
from mlx_gemma4.cli import doctor
from mlx_gemma4.cli.doctor import Finding
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import surroundings
from mlx_gemma4.footprint import device, estimate
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub import installed

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "is_mac", lambda: True)
    monkeypatch.setattr(device, "macos", lambda: (26, 1))
    monkeypatch.setattr(device, "memory_of_mac", lambda: 16 * 2**30)


def found(name: str) -> list[Finding]:
    return [finding for finding in doctor.findings() if finding.name == name]


def put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_every_finding_that_is_not_well_has_a_remedy() -> None:
    findings = list(doctor.findings())
    assert {"python", "mlx", "wheel", "device", "memory", "microphone", "screen", "disk"} <= {
        finding.name for finding in findings
    }
    for finding in findings:
        assert (finding.level == "ok") == (not finding.remedy)
        assert "\n" not in finding.said


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> device.Machine:
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(device, "this", broken)
    findings = {finding.name: finding for finding in doctor.findings()}
    assert findings["memory"].level == "warning"
    assert "the driver is gone" in findings["memory"].said
    assert findings["python"].level == "ok"
    assert "screen" in findings


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize(
    ("tag", "level"), [("macosx_15_0_arm64", "warning"), ("macosx_26_0_arm64", "ok")]
)
def test_a_wheel_for_an_older_macos_is_told_on_macos_26(
    monkeypatch: pytest.MonkeyPatch, tag: str, level: str
) -> None:
    monkeypatch.setattr(device, "wheel_tag", lambda name: tag if name == "mlx-metal" else None)
    (finding,) = found("wheel")
    assert (finding.level, tag in finding.said) == (level, True)


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize(
    ("limit", "level"), [(0, "ok"), (12 * 2**30, "ok"), (15 * 2**30, "warning"), (None, "warning")]
)
def test_a_wired_limit_that_leaves_the_system_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, level: str
) -> None:
    monkeypatch.setattr(device, "wired_limit", lambda: limit)
    (finding,) = found("wired limit")
    assert finding.level == level


def test_versions_of_mlx_that_differ_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"python": "3.11.7", "mlx": "0.32.4", "mlx-metal": "0.31.0"}
    monkeypatch.setattr(surroundings, "versions", lambda names: there)
    (finding,) = found("mlx")
    assert finding.level == "problem"
    assert "mlx-metal 0.31.0" in finding.said


class _NoDevice:
    @staticmethod
    def query_devices(kind: str) -> object:
        raise ValueError(f"no {kind} device")


@pytest.mark.parametrize(
    ("module", "level", "said"),
    [
        (
            Gemma4Error(
                "portaudio_missing", "Sound cannot be recorded", "PortAudio is not there.", "-"
            ),
            "warning",
            "PortAudio is not there",
        ),
        (_NoDevice, "warning", "no input device"),
        (SimpleNamespace(query_devices=lambda kind: {"name": "Desk"}), "ok", "Desk"),
    ],
)
def test_a_microphone_is_looked_for_and_never_fails(
    monkeypatch: pytest.MonkeyPatch, module: object, level: str, said: str
) -> None:
    def load() -> object:
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(portaudio, "load", load)
    (finding,) = found("microphone")
    assert (finding.level, said in finding.said) == (level, True)


def test_without_sounddevice_the_microphone_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (finding,) = found("microphone")
    assert (finding.level, finding.remedy) == ("warning", "pip install sounddevice")


@pytest.mark.parametrize(
    ("on_mac", "tools", "level", "said"),
    [
        (True, ["screencapture"], "ok", "screencapture"),
        (True, [], "warning", "nothing"),
        (False, ["grim", "slurp"], "ok", "grim"),
        (False, ["grim"], "warning", "grim without slurp"),
        (False, ["gnome-screenshot"], "ok", "gnome-screenshot"),
        (False, [], "warning", "nothing"),
    ],
)
def test_the_tool_that_takes_pictures_of_the_screen_is_found_on_the_path(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_mac: bool,
    tools: list[str],
    level: str,
    said: str,
) -> None:
    monkeypatch.setattr(device, "is_mac", lambda: on_mac)
    monkeypatch.delenv("DISPLAY", raising=False)
    put_on_path(monkeypatch, tmp_path / "bin", *tools)
    (finding,) = found("screen")
    assert (finding.level, said in finding.said) == (level, True)


@pytest.mark.parametrize(("free", "level"), [(40 * 10**9, "ok"), (20 * 10**9, "warning")])
def test_a_disk_too_small_for_the_12b_is_told(
    monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
    (finding,) = found("disk")
    assert (finding.level, f"{free / 1e9:.1f} GB free" in finding.said) == (level, True)
    assert str(installed.folder()) in finding.said  # where `gemma4 get` writes


def test_models_on_this_machine_are_listed_with_what_fits(
    folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    files = [path for path in folder.iterdir() if path.is_file()]
    for path in files:
        blob = hub_cache.blob("somebody/gemma", path.name)
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
    hub_cache.publish("somebody/gemma", "main", commit, {path.name: path.name for path in files})
    other = hub_cache.blob("somebody/other", "x").parent
    other.mkdir(parents=True)
    said = {finding.said.split(":")[0]: finding for finding in found("model")}
    assert set(said) == {"tiny", "tiny-4bit", "somebody/gemma"}
    assert "fits with up to 4,096 tokens" in said["somebody/gemma"].said
    here = estimate.Machine("this computer", 10**6, "free here", "cpu", 4)
    monkeypatch.setattr(device, "this", lambda: here)
    assert all(finding.level == "warning" for finding in found("model"))


def test_the_command_prints_a_line_each_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert all(line.split()[0] in ("ok", "warning", "problem") for line in lines)
    assert "problems, " in told.err
    assert cli.main(["doctor", "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in parsed] == [line[9:21].strip() for line in lines]


def test_its_exit_status_is_that_of_the_worst_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    level = "warning"
    monkeypatch.setattr(
        doctor, "findings", lambda: iter([Finding(level, "mlx", "not installed", "Install it.")])
    )
    for options in ([], ["--json"], ["--report"]):
        level = "warning"
        assert cli.main(["doctor", *options]) == 0
        level = "problem"
        assert cli.main(["doctor", *options]) == 1
        assert "not installed" in capsys.readouterr().out
    assert cli.main(["doctor", "--report", "--hosts", "mac2.local"]) == 2
    assert "Leave --hosts out" in capsys.readouterr().err
