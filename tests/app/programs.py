"""Fake programs that come first on PATH, in place of those of a Mac."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from app.devices import linux, permissions

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script of this name and text on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """The picture that fake programs take."""
    image = Image.radial_gradient("L").convert("RGB").resize((320, 200))
    image.save(tmp_path / "shot.png")
    monkeypatch.setenv("SHOT", str(tmp_path / "shot.png"))
    monkeypatch.setenv("TAKEN", str(tmp_path / "taken"))
    return image


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(permissions, "terminal", lambda: "iTerm")
    monkeypatch.setattr(permissions, "screen_allowed", lambda: True)


@pytest.fixture
def no_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    programs, which = tmp_path / "bin", shutil.which
    monkeypatch.setattr(linux.shutil, "which", lambda name: which(name, path=str(programs)))
