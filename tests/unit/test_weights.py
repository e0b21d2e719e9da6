"""Folders of every spelling load to one model, exactly; errors name what is wrong in others."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_gemma4.checkpoint.cpu_projections import LargeLinear, ManyRowsLinear, use_fast_projections
from mlx_gemma4.checkpoint.files import INDEX, weight_files
from mlx_gemma4.checkpoint.load import load_folder, sanitize, save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub.cache import is_whole
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import Config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.one_row import head_order
from mlx_gemma4.testing.doubles import tiny_config, tiny_model
from tests.unit.checkpoints import publish

IDS = np.arange(20, 60)
PICTURE = (np.full((3, 6912), 0.5, np.float32), np.array([[0, 0], [1, 0], [2, 0]]))
FRAMES = np.full((2, 640), 0.1, np.float32)
TOKENS = [2, 8, 8, 8, 11, 11, *IDS]


def logits_of(model: Gemma4) -> mx.array:
    return model.forward(TOKENS, images=[PICTURE], audio=[FRAMES])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights")
    save_folder(tiny_model(), path)
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> mx.array:
    return logits_of(load_folder(folder))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, mx.array]], dict[str, mx.array]]) -> None:
    path = str(folder / "model.safetensors")
    tensors = change(mx.load(path))
    mx.eval(tensors)
    mx.save_safetensors(path, tensors)


def published(name: str) -> str:
    return "model." + name.replace("language_model.model.", "language_model.")


def in_memory(name: str) -> str:
    """transformers >= 5.23 keeps everything of vision under embed_vision."""
    name = published(name).replace(".vision_embedder.", ".embed_vision.")
    return name.replace("embed_vision.embedding", "embed_vision.multimodal_embedder.embedding")


@pytest.mark.parametrize("spelling", [published, in_memory])
def test_every_spelling_of_the_names_is_the_same_model(
    copy: Path, spelling: Callable[[str], str], expected: mx.array
) -> None:
    rewrite(copy, lambda tensors: {spelling(name): value for name, value in tensors.items()})
    assert mx.array_equal(logits_of(load_folder(copy)), expected)


@pytest.mark.parametrize("spelling", [str, published, in_memory])
def test_sanitizing_again_changes_nothing(spelling: Callable[[str], str]) -> None:
    names = tiny_model().tensors()
    once = sanitize({spelling(name): name for name in names})
    assert once == {name: name for name in names}
    assert sanitize(once) == once


def test_the_tied_head_and_rope_tables_are_left_out() -> None:
    names = ["lm_head.weight", "language_model.lm_head.weight", "model.rotary_emb.inv_freq"]
    assert sanitize(dict.fromkeys([*names, "model.embed_audio.x"])) == {"embed_audio.x": None}


def test_one_row_moves_the_rotated_dims_of_a_head_to_its_front() -> None:
    order = head_order(tiny_config().text_config)  # 64 of 256 rotate: 0..31 and 128..159
    assert order[:64].tolist() == [*range(32), *range(128, 160)]
    assert order[64:].tolist() == [*range(32, 128), *range(160, 256)]


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize("recipe", [None, "4bit", "8bit"])
def test_what_is_saved_loads_as_the_same_model(
    folder: Path, tmp_path: Path, layout: Any, recipe: str | None
) -> None:
    model = load_folder(folder, layout=layout)
    if recipe:
        quantize(model, RECIPES[recipe])
    save_folder(model, tmp_path)
    again = load_folder(tmp_path, layout=layout)
    assert again.layout == model.layout == layout
    assert again.config == model.config
    first, second = model.tensors(), again.tensors()
    assert first.keys() == second.keys()
    assert all(mx.array_equal(first[name], second[name]) for name in first)
    # and, up to rounding, as the same model in the other layout
    other = load_folder(tmp_path, layout="plain" if layout == "one_row" else "one_row")
    assert other.layout != layout
    assert mx.allclose(logits_of(other), logits_of(model), atol=1e-4)


def test_a_quantized_folder_whose_groups_cross_the_rotated_dims_loads_plain(
    folder: Path, tmp_path: Path
) -> None:
    model = load_folder(folder, layout="plain")
    quantize(model, RECIPES["4bit-small"])
    for layer in (2, 5):  # groups of 64 over blocks of 32 rotated dims, as mlx-vlm would make
        attention = model.language_model.model.layers[layer].self_attn
        dense = mx.dequantize(*attention.o_proj.parameters().values(), group_size=32, bits=4)
        packed = mx.quantize(dense, group_size=64, bits=4)
        attention.o_proj.update(dict(zip(("weight", "scales", "biases"), packed, strict=True)))
        attention.o_proj.group_size = 64
    save_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization"] = {"group_size": 64, "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load_folder(tmp_path)
    assert again.layout == "plain"
    assert mx.array_equal(logits_of(again), logits_of(model))


def test_paths_may_have_bits_of_their_own_in_either_spelling(folder: Path, tmp_path: Path) -> None:
    path = "language_model.model.layers.0.mlp.down_proj"
    model = load_folder(folder)
    quantize(model, RECIPES["4bit"])
    fine = load_folder(folder).language_model.model.layers[0].mlp.down_proj
    model.language_model.model.layers[0].mlp.down_proj = nn.QuantizedLinear.from_linear(fine, 32, 8)
    save_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in (path, published(path)):
        settings = {**config["quantization"], name: {"group_size": 32, "bits": 8}}
        (tmp_path / "config.json").write_text(json.dumps({**config, "quantization": settings}))
        again = load_folder(tmp_path)
        assert again.language_model.model.layers[0].mlp.down_proj.bits == 8
        assert mx.array_equal(logits_of(again), logits_of(model))


def test_settings_of_quantization_that_mlx_has_not_are_an_error(
    folder: Path, tmp_path: Path
) -> None:
    model = load_folder(folder)
    quantize(model, RECIPES["4bit"])
    save_folder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization"]["language_model.model.embed_tokens"]["sign"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(Gemma4Error, match="quantization settings do not fit .*sign"):
        load_folder(tmp_path)


def test_media_projections_may_be_quantized_too(folder: Path, tmp_path: Path) -> None:
    model = load_folder(folder)
    nn.quantize(model, group_size=32, bits=8)  # everything, as mlx-vlm does
    model.config = replace(model.config, quantization={"group_size": 32, "bits": 8})
    save_folder(model, tmp_path)
    again = load_folder(tmp_path)
    assert (
        again.layout == "one_row" and "embed_audio.embedding_projection.scales" in again.tensors()
    )
    assert mx.array_equal(logits_of(again), logits_of(model))


def test_shards_are_read_through_their_index(copy: Path, expected: mx.array) -> None:
    tensors = mx.load(str(copy / "model.safetensors"))
    mx.eval(tensors)
    names, shards = sorted(tensors), ("model-00001-of-00002", "model-00002-of-00002")
    weight_map = {name: f"{shards[n % 2]}.safetensors" for n, name in enumerate(names)}
    for shard in shards:
        part = {n: tensors[n] for n in names if weight_map[n].startswith(shard)}
        mx.save_safetensors(str(copy / shard), part)
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert mx.array_equal(logits_of(load_folder(copy)), expected)
    (copy / f"{shards[1]}.safetensors").unlink()
    with pytest.raises(Gemma4Error, match="2 shards, and model-00002-of-00002.safetensors is not"):
        load_folder(copy)


def test_a_folder_without_media_weights_loads_text_only_with_a_warning(copy: Path) -> None:
    whole = load_folder(copy)
    rewrite(copy, lambda tensors: {n: t for n, t in tensors.items() if n.startswith("language")})
    config = json.loads((copy / "config.json").read_text())
    del config["vision_config"]  # mlx-lm drops this one, and keeps audio_config
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="no weights for pictures and sound.*mlx-lm"):
        model = load_folder(copy)
    assert mx.array_equal(model.forward(IDS), whole.forward(IDS))
    with pytest.raises(Gemma4Error, match="no weights for pictures"):
        model.forward([8] * 3, images=[PICTURE])
    with pytest.raises(Gemma4Error, match="no weights for sound"):
        model.forward([11] * 2, audio=[FRAMES])
    save_folder(model, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the config agrees now
        load_folder(copy)


def test_on_the_cpu_weights_become_float32_unless_another_type_is_asked_for(copy: Path) -> None:
    rewrite(copy, lambda tensors: {n: t.astype(mx.bfloat16) for n, t in tensors.items()})
    assert {t.dtype for t in load_folder(copy).tensors().values()} == {mx.float32}
    model = load_folder(copy, dtype=mx.bfloat16)
    assert {t.dtype for t in model.tensors().values()} == {mx.bfloat16}
    assert model.forward(IDS).dtype == mx.bfloat16


def test_saved_configs_have_the_sizes_under_the_names_that_mlx_vlm_reads(tmp_path: Path) -> None:
    config = tiny_config()
    raw = json.loads(json.dumps(config.raw))
    text = raw["text_config"]
    sizes = {"head_dim": text.pop("global_head_dim")}
    sizes["num_key_value_heads"] = text.pop("num_global_key_value_heads")
    text["per_layer_config"] = {"2": sizes, "5": sizes}
    model = Gemma4(Config.from_dict(raw))
    save_folder(model, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert (written["global_head_dim"], written["num_global_key_value_heads"]) == (256, 1)
    assert load_folder(tmp_path).config == config


@pytest.mark.parametrize("bias", [False, True])
def test_rows_through_a_fast_projection_are_the_same_numbers(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mlx_gemma4.checkpoint.cpu_projections.SLAB", 64 * 40
    )  # the last slab is a short one
    monkeypatch.setattr("mlx_gemma4.checkpoint.cpu_projections.SMALL", 64 * 96 - 1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quantized = nn.QuantizedLinear(64, 96, bias, group_size=32, bits=4)
            self.large = nn.Linear(64, 96, bias)
            self.small = nn.Linear(64, 95, bias)

    model = Model()
    rows = mx.array(np.random.default_rng(0).standard_normal((1, 40, 64), np.float32))
    expected = [layer(rows) for layer in (model.quantized, model.large)]
    tensors = model.parameters()
    use_fast_projections(model)
    assert model.parameters() == tensors
    layers = (model.quantized, model.large, model.small)
    assert [type(layer) for layer in layers] == [ManyRowsLinear, LargeLinear, nn.Linear]
    for layer, result in zip(layers, expected, strict=False):
        for part in (rows, rows[:, :3]):
            assert mx.allclose(layer(part), result[:, : part.shape[1]], atol=1e-4)


@pytest.mark.parametrize("shards", [0, 2])
def test_files_that_begin_with_a_dot_are_no_weights(
    copy: Path, tmp_path: Path, shards: int, expected: mx.array
) -> None:
    """As macOS leaves them on disks of other systems; `Folder` is what a conversion reads."""
    if shards:
        copy = tmp_path / "published"
        publish(copy, shards)
    names = [path.name for path in copy.glob("*.safetensors")]
    for name in names:
        (copy / f"._{name}").write_bytes(b"\x00\x05\x16\x07" + bytes(4_092))
    assert set(weight_files(copy)) == set(Folder(copy).shards) == set(names)
    if not shards:
        assert mx.array_equal(logits_of(load_folder(copy)), expected)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "._a.safetensors"]
)
def test_an_index_leads_to_no_file_outside_its_folder(
    copy: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(copy / "model.safetensors", tmp_path / "other.safetensors")
    (copy / INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
    for read in (load_folder, Folder):
        with pytest.raises(Gemma4Error, match="no name of a .safetensors file"):
            read(copy)
    assert not is_whole(copy)
