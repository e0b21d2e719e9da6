"""The contract of pyproject.toml for the parts without a screen, at run time."""

import tomllib
from pathlib import Path

from tests.test_imports import imported_by

ROOT = Path(__file__).parents[2]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PARTS = next(
    contract["source_modules"]
    for contract in LINTER["contracts"]
    if contract.get("forbidden_modules") == ["textual", "mlx"]
)


def test_the_parts_without_a_screen_load_neither_textual_nor_mlx() -> None:
    loaded = imported_by(f"import {', '.join(PARTS)}")
    assert "app" in loaded
    assert not {"textual", "mlx", "sounddevice", "soundfile"} & loaded
