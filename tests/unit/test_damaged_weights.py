"""Folders of weights that are damaged, foreign or too large are errors that name what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.checkpoint.files import INDEX
from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.checkpoint.safetensors import read_header
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub.sources import Folder
from tests.unit.test_weights import published, rewrite


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def cut_in_the_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 23919461376\n"
    (folder / "model.safetensors").write_text(text)


def web_page(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<!DOCTYPE html><html>404</html>" * 9)


def noise(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((50).to_bytes(8, "little") + b"?" * 200)


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


NORM = "language_model.model.norm.weight"


def missing_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if n != NORM})


def missing_picture_tensor(folder: Path) -> None:
    lost = "vision_embedder.pos_embedding"
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if n != lost})


def unknown_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: {**tensors, "vision_tower.weight": mx.ones(3)})


def wrong_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: {**tensors, NORM: mx.ones(65)})


def both_spellings(folder: Path) -> None:
    rewrite(folder, lambda tensors: {**tensors, published(NORM): mx.ones(64)})


def scales_without_settings(folder: Path) -> None:
    model = load_folder(folder)
    quantize(model, RECIPES["4bit"])
    save_folder(model, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization"]
    (folder / "config.json").write_text(json.dumps(config))


def settings_of_another_size(folder: Path) -> None:
    model = load_folder(folder)
    quantize(model, RECIPES["4bit"])
    save_folder(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization"]["bits"] = 8
    (folder / "config.json").write_text(json.dumps(config))


def index_that_is_none(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "bytes, and its header lists"),
        (cut_in_the_header, "100 bytes and is damaged or cut off in its header"),
        (empty, "0 bytes"),
        (pointer, "Git LFS pointer"),
        (web_page, "web page of 279 bytes"),
        (noise, "no safetensors header"),
        (no_weights, "no .safetensors file"),
        (missing_tensor, f"1 tensors are missing ({NORM})"),
        (missing_picture_tensor, "1 tensors are missing (vision_embedder.pos_embedding)"),
        (unknown_tensor, "1 tensors are unknown (vision_tower.weight)"),
        (wrong_shape, f"{NORM} is (65,) and should be (64,)"),
        (both_spellings, f"two tensors are both {NORM}"),
        (scales_without_settings, "no quantization settings"),
        (settings_of_another_size, "and should be"),
        (index_that_is_none, "is not an index of shards"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(
    copy: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(copy)
    with pytest.raises(Gemma4Error) as caught:
        load_folder(copy)
    assert words in caught.value.cause
    assert caught.value.title and caught.value.remedy


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": [1]}}']
)
def test_an_index_that_is_none_is_named(copy: Path, content: str) -> None:
    (copy / INDEX).write_text(content)
    for read in (load_folder, Folder):
        with pytest.raises(Gemma4Error, match=r"index\.json"):
            read(copy)


def raw_file(path: Path, entries: object, data: bytes = b"") -> Path:
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F4", "C64"])
def test_a_type_that_is_not_supported_is_named(copy: Path, kind: str) -> None:
    entry = {"dtype": kind, "shape": [4], "data_offsets": [0, 4]}
    raw_file(copy / "model.safetensors", {"lm.weight": entry}, bytes(4))
    for read in (load_folder, Folder):
        with pytest.raises(
            Gemma4Error, match=f"lm.weight in .* has the type '{kind}', which is not"
        ):
            read(copy)


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {},
        {"dtype": "F32", "shape": 4, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
    ],
)
def test_a_header_that_describes_no_tensor_is_named(tmp_path: Path, entry: object) -> None:
    with pytest.raises(Gemma4Error, match="bad.safetensors"):
        read_header(raw_file(tmp_path / "bad.safetensors", {"w": entry}, bytes(4)))


def test_two_tensors_share_no_bytes(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    with pytest.raises(Gemma4Error, match="has b at byte 0 and not at 4"):
        read_header(raw_file(tmp_path / "bad.safetensors", {"a": entry, "b": entry}, bytes(4)))


def test_a_header_is_bounded_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**31))
        file.truncate(2**32)  # holes: nothing is on the disk
    with pytest.raises(Gemma4Error, match="header of 2,147,483,648 bytes; at most 16,777,216"):
        read_header(path)


@pytest.mark.parametrize("kind", [mx.int32, mx.uint32, mx.bool_])
def test_types_are_checked_as_shapes_are(copy: Path, kind: mx.Dtype) -> None:
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    rewrite(copy, lambda tensors: {**tensors, name: tensors[name].astype(kind)})
    with pytest.raises(Gemma4Error, match=f"1 have another type .{name} is .*should be bfloat16"):
        load_folder(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["embed_audio.embedding_projection.weight", "layer_scalar"])
def test_weights_that_are_not_numbers_are_found(copy: Path, name: str, value: float) -> None:
    def change(tensors: dict[str, mx.array]) -> dict[str, mx.array]:
        full = next(key for key in tensors if key.endswith(name))
        flat = mx.concatenate([mx.array([value]), tensors[full].reshape(-1)[1:]])
        return {**tensors, full: flat.reshape(tensors[full].shape)}

    rewrite(copy, change)
    with pytest.raises(Gemma4Error, match=f"1 tensors hold NaN or infinity .*{name}"):
        load_folder(copy)


def test_scales_that_are_not_numbers_are_found(folder: Path, tmp_path: Path) -> None:
    model = load_folder(folder)
    quantize(model, RECIPES["4bit"])
    save_folder(model, tmp_path)
    name = "language_model.model.embed_tokens.scales"
    rewrite(tmp_path, lambda tensors: {**tensors, name: tensors[name] * mx.nan})
    with pytest.raises(Gemma4Error, match=f"NaN or infinity .*{name}"):
        load_folder(tmp_path)


def test_weights_that_may_not_be_read_are_named(copy: Path, monkeypatch: Any) -> None:
    def denied(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(Gemma4Error, match=r"model\.safetensors cannot be read .*Permission denied"):
        read_header(copy / "model.safetensors")


def test_a_folder_in_the_place_of_weights_is_named(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").mkdir()
    with pytest.raises(Gemma4Error, match=r"model\.safetensors is not a file"):
        load_folder(copy)


@pytest.mark.parametrize(
    "name",
    ("config.json", "generation_config.json", "processor_config.json", "tokenizer.json",
     "tokenizer_config.json", "chat_template.jinja", "model.safetensors", INDEX),
)  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_is_an_error_and_not_waited_for(
    copy: Path, name: str
) -> None:
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    with pytest.raises(Gemma4Error):
        load_folder(copy)
        Tokenizer.from_folder(copy)
