from pathlib import Path

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import device

GIB = 2**30


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Mac with macOS 26.1, 16 GB and a wired limit, as far as programs on PATH show."""
    fakes = tmp_path / "bin"
    fakes.mkdir()
    answers = "case $2 in hw.memsize) echo 17179869184;; iogpu.wired_limit_mb) echo 12288;; esac"
    for name, script in (("sysctl", answers), ("sw_vers", "echo 26.1")):
        (fakes / name).write_text(f"#!/bin/sh\n{script}\n")
        (fakes / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(device, "is_mac", lambda: True)
    return fakes


@pytest.mark.usefixtures("mac")
def test_a_mac_tells_its_memory_its_wired_limit_and_its_version() -> None:
    assert device.memory_of_mac() == 16 * GIB
    assert device.wired_limit() == 12 * GIB
    assert device.macos() == (26, 1)


@pytest.mark.parametrize("script", ["exit 1", "echo unknown oid", "echo"])
def test_what_a_mac_does_not_tell_is_not_known(mac: Path, script: str) -> None:
    (mac / "sysctl").write_text(f"#!/bin/sh\n{script}\n")
    assert device.wired_limit() is None
    (mac / "sysctl").unlink()
    assert device.wired_limit() is None


def test_elsewhere_there_is_no_version_of_macos(mac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "is_mac", lambda: False)
    assert device.macos() == ()


def test_linux_tells_what_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(device, "_MEMINFO", meminfo)
    assert device._available() == 2 * 1024**2


def test_a_mac_whose_metal_is_not_there_gives_half_its_memory(
    mac: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_MEMINFO", tmp_path / "nothing")
    assert device._available() == 8 * GIB
    (mac / "sysctl").unlink()
    with pytest.raises(Gemma4Error, match="--memory"):
        device._available()


def test_this_computer_has_some_memory() -> None:
    here = device.this()
    assert 0 < here.budget < 2**45
    assert here.rule and here.name


def test_a_wheel_tells_its_platform() -> None:
    assert device.wheel_tag("numpy") not in (None, "any")
    assert device.wheel_tag("no-such-package") is None
