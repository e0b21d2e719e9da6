"""A whole checkpoint on the grid that quantization-aware training for q4_0 leaves."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.checkpoint.load import load_folder, sanitize
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.convert.convert import convert
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import load_config
from tests.unit.checkpoints import publish

Tensors = dict[str, mx.array]


def read(folder: Path) -> Tensors:
    tensors: Tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= mx.load(str(file))
    return sanitize(tensors)


@pytest.fixture
def lattice(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "lattice", np.random.default_rng(0)
    publish(folder)
    for file in folder.glob("*.safetensors"):
        tensors = mx.load(str(file))
        for name, tensor in tensors.items():
            if tensor.ndim == 2 and "language_model" in name:
                # d (q - 8) in groups of 32, whose extremum has q = 0
                codes = rng.integers(0, 16, (tensor.size // 32, 32))
                codes[:, 5] = 0
                steps = 0.02 * rng.standard_normal((len(codes), 1))
                numbers = mx.array((steps * (codes - 8)).astype(np.float32))
                tensors[name] = numbers.astype(mx.bfloat16).reshape(tensor.shape)
        mx.save_safetensors(str(file), tensors)
    return folder


def lost(original: Path, folder: Path) -> float:
    """The root mean square error of all matrices, in shares of the weights' own."""
    expected, made, chosen = read(original), read(folder), load_config(folder).quantization
    rule = {key: chosen[key] for key in ("group_size", "bits", "mode")}
    wrong = whole = 0.0
    for path in [name.removesuffix(".scales") for name in made if name.endswith(".scales")]:
        scales, biases = (made[f"{path}.{k}"].astype(mx.float32) for k in ("scales", "biases"))
        rows = expected[f"{path}.weight"].astype(mx.float32)
        own = {**rule, **chosen.get(path, {})}
        back = mx.dequantize(made[f"{path}.weight"], scales, biases, **own)
        wrong += mx.square(back - rows).sum().item()
        whole += mx.square(rows).sum().item()
    return (wrong / whole) ** 0.5


def test_the_recipe_for_such_weights_keeps_them_where_ordinary_rounding_loses(
    lattice: Path, tmp_path: Path
) -> None:
    for name, least, most in (("qat-4bit", 0.0, 0.005), ("4bit-small", 0.05, 0.1)):
        folder = convert(Folder(lattice), tmp_path / name, RECIPES[name])
        assert least <= lost(lattice, folder) < most


def test_logits_of_such_weights_come_ten_times_closer(lattice: Path, tmp_path: Path) -> None:
    ids = np.arange(20, 60)
    exact = load_folder(lattice).forward(ids)
    far = {
        name: mx.abs(
            load_folder(convert(Folder(lattice), tmp_path / name, RECIPES[name])).forward(ids)
            - exact
        ).mean()
        for name in ("qat-4bit", "4bit")
    }
    assert (far["qat-4bit"] < far["4bit"] / 10).item()
