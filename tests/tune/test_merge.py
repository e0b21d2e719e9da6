"""An adapter becomes part of the weights."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4 import Gemma4Error
from mlx_gemma4.checkpoint import adapters
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.shapes import shapes
from mlx_gemma4.cli import main
from mlx_gemma4.hub import catalog, installed
from mlx_gemma4.tune import lora
from mlx_gemma4.tune.merge import merge_quantized

IDS = list(range(20, 50))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter for the tiny model, of the size of one that was trained."""
    model = load_folder(catalog.resolve("tiny"))
    lora.add(model, 8, 2.0, 0)
    for name, value in lora.trained(model).items():
        if name.endswith("lora_b"):
            noise = mx.random.normal(value.shape, key=mx.random.key(len(name)))
            model.load_weights([(name, 0.05 * noise)], strict=False)
    place = tmp_path_factory.mktemp("adapter")
    adapters.write(lora.adapter_of(model, 8, 2.0, "lora", {"base": "tiny"}), place)
    return place


def logits(*named: str | Path) -> np.ndarray:
    return np.array(mlx_gemma4.load(*named).forward(IDS)[0])


def test_merging_while_converting_computes_what_the_adapter_does(
    adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    command = ["convert", "tiny", "--adapter", str(adapter), "--recipe", "bf16", "-o", str(out)]
    assert main(command) == 0
    plain, beside, merged = logits("tiny"), logits("tiny", adapter), logits(out)
    assert np.abs(beside - plain).max() > 0.5
    # bfloat16 has 8 bits: that rounding is far below what the adapter changes
    assert np.abs(merged - beside).max() < 0.2 * np.abs(beside - plain).max()
    (listed,) = [model for model in installed.made() if model.folder == out.resolve()]
    assert listed.source == "tiny with an adapter"  # and so it is not what tiny's name means
    assert installed.find("tiny", "main", "bf16") != out.resolve()


def test_a_removed_model_leaves_what_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    for name, recipe in (("one", "4bit"), ("two", "8bit")):
        assert main(["convert", "tiny", "--recipe", recipe, "-o", str(tmp_path / name)]) == 0
    (tmp_path / "two" / "notes.txt").write_text("mine")
    assert main(["models", "remove", "tiny", "--yes"]) == 2
    assert "Name one of them: " in capsys.readouterr().err
    assert (tmp_path / "one" / "config.json").exists()
    assert main(["models", "remove", "two", "--yes"]) == 0
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["notes.txt"]
    assert [model.name for model in installed.made()] == ["one"]


def test_removing_a_model_leaves_what_is_beside_a_folder_called_snapshots(tmp_path: Path) -> None:
    made = tmp_path / "snapshots" / "twelve"
    assert main(["convert", "tiny", "--recipe", "bf16", "-o", str(made)]) == 0
    (tmp_path / "letter.txt").write_text("Dear all")
    assert main(["models", "remove", "twelve", "--yes"]) == 0
    assert not made.exists() and (tmp_path / "letter.txt").exists()


@pytest.mark.parametrize("before", ["tiny-4bit", "mxfp4", "nvfp4"])
def test_merging_at_8_bits_into_a_quantized_model_loses_little(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    out, source = tmp_path / "merged", before
    if before != "tiny-4bit":
        source = "tiny"
        mode, before = before, str(tmp_path / "before")
        assert main(["convert", "tiny", "--mode", mode, "-o", before]) == 0
        Path(before, "._config.json").write_bytes(b"\0\5\x16\7")  # macOS's, on other disks
    command = ["convert", before, "--adapter", str(adapter), "-o", str(out)]
    assert main([*command, "--recipe", "8bit"]) == 2
    assert "is quantized already" in capsys.readouterr().err
    assert main(command) == 0
    assert "of the change is lost" in capsys.readouterr().err
    assert not list(out.glob(".*"))
    assert main(["verify", str(out)]) == 0
    (model,) = [model for model in installed.made() if model.name == "merged"]
    assert model.folder == out and model.source == f"{source} with an adapter"
    plain, beside, merged = logits(before), logits(before, adapter), logits(out)
    assert np.linalg.norm(merged - beside) < 0.3 * np.linalg.norm(beside - plain)


def test_merging_at_4_bits_again_is_refused_with_what_is_lost(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    command = ["convert", "tiny-4bit", "--adapter", str(adapter), "-o", str(out), "--bits", "4"]
    assert main(command) == 2
    assert "would be lost" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--force"]) == 0
    assert mlx_gemma4.load(out).config.quantization is not None


def test_an_adapter_of_another_model_is_not_merged(
    folder: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    command = ["convert", str(folder), "--adapter", str(adapter), "--recipe", "bf16"]
    assert main([*command, "-o", str(out)]) == 2
    assert not out.exists()


def test_rows_are_merged_as_the_whole_is(adapter: Path) -> None:
    found = adapters.read(adapter)
    path = found.paths[0]
    outputs = found.tensors[f"{path}.lora_b"].shape[1]
    inputs = found.tensors[f"{path}.lora_a"].shape[0]
    weight = mx.random.normal((outputs, inputs), key=mx.random.key(1))
    whole = found.merged(path, weight)
    parts = [found.merged(path, weight[a : a + 50], a) for a in range(0, outputs, 50)]
    assert mx.allclose(mx.concatenate(parts), whole, atol=1e-6)
    with pytest.raises(Gemma4Error):
        adapters.read(adapter / "gone")


@pytest.mark.parametrize("source", ["tiny-4bit", "tiny"])
def test_a_merge_that_makes_no_numbers_is_refused(source: str, tmp_path: Path) -> None:
    path = "language_model.model.layers.0.mlp.down_proj"
    outputs, inputs = shapes(load_folder(catalog.resolve(source)).config)[f"{path}.weight"]
    a, b = mx.full((inputs, 1), 1e30), mx.full((1, outputs), 1e30)
    too_large = adapters.Adapter({f"{path}.lora_a": a, f"{path}.lora_b": b}, 1, 1.0)
    with pytest.raises(Gemma4Error, match=f"Merged, {path} holds NaN or infinity"):
        merge_quantized(catalog.resolve(source), too_large, tmp_path / "out")
    assert not list(tmp_path.iterdir())
