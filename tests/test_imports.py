"""The import contracts of pyproject.toml at run time, which see what a static check cannot."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mlx_gemma4

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
WITHOUT_MLX = next(c["source_modules"] for c in CONTRACTS if c.get("forbidden_modules") == ["mlx"])
# starting up with these would take seconds
HEAVY = {"torch", "transformers", "mlx_lm", "mlx_vlm", "scipy", "huggingface_hub", "av", "jinja2"}


def imported_by(code: str) -> set[str]:
    """The top-level modules that are there after a fresh interpreter ran this."""
    show = "import sys; print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", f"{code}\n{show}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("module", WITHOUT_MLX)
def test_a_module_that_knows_nothing_of_mlx_does_not_load_it(module: str) -> None:
    assert "mlx" not in imported_by(f"import {module}")


def test_importing_the_package_loads_no_dependency() -> None:
    assert not {"mlx", "numpy", "PIL", "tokenizers"} & imported_by("import mlx_gemma4")


def test_an_answer_needs_nothing_heavy(folder: Path) -> None:
    arguments = ["ask", "hello", "--model", str(folder), "--max-tokens", "2"]
    loaded = imported_by(f"from mlx_gemma4 import cli; assert cli.main({arguments}) == 0")
    assert "mlx" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("name", mlx_gemma4._HOMES)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(mlx_gemma4, name) is not None
    assert name in dir(mlx_gemma4)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = mlx_gemma4.nothing
