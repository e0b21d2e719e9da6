"""Recipes change the decoder's matrices and nothing that pictures and sound pass through."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.convert.convert import convert
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import Config, load_config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.testing.doubles import tiny_config, tiny_model

IDS = np.arange(20, 60)


@pytest.mark.parametrize(("recipe", "agreement"), [("8bit", 0.95), ("4bit", 0.3)])
def test_quantized_models_stay_close(recipe: str, agreement: float) -> None:
    model = tiny_model()
    before = np.array(model.forward(IDS))
    quantize(model, RECIPES[recipe])
    after = np.array(model.forward(IDS))
    assert not np.allclose(before, after, atol=1e-4)
    assert (before.argmax(-1) == after.argmax(-1)).mean() >= agreement


def test_media_projections_stay_and_everything_else_is_quantized() -> None:
    model = tiny_model()
    quantize(model, RECIPES["4bit"])
    matrices = {name for name, t in model.tensors().items() if t.ndim == 2 and "weight" in name}
    packed = {name for name in matrices if model.tensors()[name].dtype == mx.uint32}
    assert {name.split(".")[0] for name in matrices - packed} == {
        "vision_embedder",
        "embed_vision",
        "embed_audio",
    }
    assert len(packed) == 1 + 4 * 7 + 2 * 6  # the table, and no v_proj on the two full layers


def test_groups_are_smaller_only_where_one_row_needs_it() -> None:
    model = tiny_model()
    quantize(model, RECIPES["4bit-small"])
    small = {"group_size": 32, "bits": 4, "mode": "affine"}
    o_proj = "language_model.model.layers.{}.self_attn.o_proj".format
    assert model.config.quantization == {
        "group_size": 64,
        "bits": 4,
        "mode": "affine",
        o_proj(2): small,
        o_proj(5): small,
    }


def test_both_layouts_become_the_same_bits() -> None:
    one_row, plain = tiny_model(), tiny_model(layout="plain")
    # the same model: random weights are drawn in each layout's own order of the dims
    from mlx_gemma4.checkpoint.permute import permute

    text = plain.config.text_config
    one_row.load_weights(list(permute(plain.tensors(), text).items()))
    for model in (one_row, plain):
        quantize(model, RECIPES["4bit"])
    back = permute(one_row.tensors(), text, back=True)
    assert all(mx.array_equal(back[name], tensor) for name, tensor in plain.tensors().items())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_in_memory_becomes_what_a_converted_folder_holds(
    recipe: str, tmp_path: Path
) -> None:
    save_folder(tiny_model(), tmp_path / "source")
    convert(Folder(tmp_path / "source"), tmp_path / "converted", RECIPES[recipe])
    model = tiny_model(layout="plain")
    model.load_weights(list(load_folder(tmp_path / "source", layout="plain").tensors().items()))
    quantize(model, RECIPES[recipe])
    converted = mx.load(str(tmp_path / "converted" / "model.safetensors"))
    assert model.tensors().keys() == converted.keys()
    assert all(mx.array_equal(model.tensors()[name], t) for name, t in converted.items())
    assert model.config.quantization == load_config(tmp_path / "converted").quantization


def test_a_quantized_model_is_not_quantized_again() -> None:
    model = tiny_model()
    quantize(model, RECIPES["8bit"])
    with pytest.raises(Gemma4Error, match="quantized already"):
        quantize(model, RECIPES["4bit"])


def test_heads_that_no_group_fits_are_quantized_in_the_plain_layout_only() -> None:
    raw = dict(tiny_config().raw)
    raw["text_config"] = {**raw["text_config"], "global_head_dim": 96}  # 12 + 12 dims rotate
    config = Config.from_dict(raw)
    with pytest.raises(Gemma4Error, match="blocks of 12 dims"):
        quantize(Gemma4(config), RECIPES["4bit"])
    model = Gemma4(config, layout="plain")
    quantize(model, RECIPES["4bit"])
    assert model.language_model.model.layers[2].self_attn.o_proj.group_size == 64
