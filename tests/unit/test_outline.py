from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4 import cli
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.convert import convert
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import device, estimate, summary
from mlx_gemma4.hub import catalog
from mlx_gemma4.hub.sources import Folder
from tests.unit.checkpoints import publish


def test_a_converted_folder_is_as_large_as_was_said_before(tmp_path: Path) -> None:
    publish(tmp_path / "published")
    place = estimate.mac(16)
    before = summary.of_folder(tmp_path / "published").converted(RECIPES["qat-4bit"])
    source = Folder(tmp_path / "published")
    convert.convert(source, tmp_path / "made", RECIPES["qat-4bit"])
    after = summary.of(str(tmp_path / "made"))
    assert estimate.weights(after.model, place) == estimate.weights(before, place)
    assert after.config.quantization is not None


def test_loading_holds_the_bytes_that_the_headers_promise(folder: Path) -> None:
    for dtype, place in ((mx.float32, 4), (mx.float16, 2)):
        model = load_folder(folder, dtype=dtype)
        held = sum(tensor.nbytes for tensor in model.tensors().values())
        here = replace(estimate.mac(16), float_bytes=place)
        assert estimate.weights(summary.of_folder(folder).model, here) == held


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A computer that holds no model, and on which the tests' fits in 4 bits and not as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = estimate.Machine("this computer", 9_500_000, "free here", "cpu", 4)
    monkeypatch.setattr(device, "this", lambda: here)


@pytest.mark.usefixtures("small_memory")
def test_a_model_that_does_not_fit_is_refused_with_numbers_and_what_would(folder: Path) -> None:
    with pytest.raises(Gemma4Error) as caught:
        mlx_gemma4.load(folder)
    need = estimate.need(summary.of_folder(folder).model, device.this(), estimate.LEAST_CONTEXT)
    assert f"{need.weights / 1e9:.2f} GB for its weights" in caught.value.cause
    assert "0.01 GB (free here)" in caught.value.cause
    assert "force=True, or --force" in caught.value.remedy


@pytest.mark.usefixtures("small_memory")
def test_a_model_that_does_not_fit_is_loaded_by_force(folder: Path) -> None:
    assert mlx_gemma4.load(folder, force=True).forward(np.arange(20, 24)).shape == (1, 4, 512)
    asked = ["ask", "hello", "--model", str(folder), "--max-tokens", "1"]
    assert cli.main(asked) == 2
    assert cli.main([*asked, "--force"]) == 0


def test_the_remedy_is_the_largest_recipe_that_fits(folder: Path) -> None:
    found = summary.of_folder(folder)
    sizes = {
        name: estimate.weights(found.converted(r), estimate.mac(16)) for name, r in RECIPES.items()
    }
    rest = (
        estimate.need(found.model, estimate.mac(16), estimate.LEAST_CONTEXT).total - sizes["bf16"]
    )
    tight = replace(estimate.mac(16), budget=sizes["8bit"] + rest)
    with pytest.raises(Gemma4Error) as caught:
        found.check(tight)
    assert f"`gemma4 convert {folder} --recipe 8bit`" in caught.value.remedy
    with pytest.raises(Gemma4Error) as caught:
        summary.of_folder(folder, "mine").check(tight)
    assert "`gemma4 get mine`" in caught.value.remedy
    replace(found, tensors=found.converted(RECIPES["8bit"]).tensors).check(tight)


def test_a_quantized_model_that_does_not_fit_is_told_to_take_fewer_bits(tmp_path: Path) -> None:
    publish(tmp_path / "published")
    convert.convert(Folder(tmp_path / "published"), tmp_path / "made", RECIPES["4bit"])
    with pytest.raises(Gemma4Error) as caught:
        summary.of(str(tmp_path / "made")).check(replace(estimate.mac(16), budget=1000))
    assert "use fewer bits" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("google/gemma-4-12B-it-assistant", "It is a drafter"),
        ("tinny", "Did you mean tiny?"),
        ("./nobody", "neither a folder"),
    ],
)
def test_what_is_no_model_is_told_as_everywhere(name: str, said: str) -> None:
    with pytest.raises(Gemma4Error) as caught:
        summary.of(name)
    assert said in str(caught.value)


def test_a_folder_that_a_catalogue_names_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'[mine]\ntitle = "t"\nlicense = "MIT"\npath = "{folder}"\n'
    (tmp_path / "Package.toml").write_text(f"{text}audio_seconds = 30\nimage_tokens = [70]\n")
    monkeypatch.setattr(catalog, "user_file", lambda: tmp_path / "Package.toml")
    catalog.packages.cache_clear()
    try:
        assert summary.of("mine").tensors == summary.of_folder(folder).tensors
    finally:
        catalog.packages.cache_clear()
