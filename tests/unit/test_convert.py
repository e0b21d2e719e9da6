import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_gemma4.checkpoint.adapters import Adapter
from mlx_gemma4.checkpoint.architectures import ARCHITECTURES
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.recipes import RECIPES, Storage, storage_of, uniform
from mlx_gemma4.checkpoint.shapes import shapes
from mlx_gemma4.convert import convert as library
from mlx_gemma4.convert import plan, rewrite
from mlx_gemma4.convert.convert import convert, partial, verify
from mlx_gemma4.convert.plan import make_plan
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub import disk
from mlx_gemma4.hub.progress import Progress
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import Config, load_config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.testing.doubles import tiny_config
from tests.unit.checkpoints import publish

LAYER = "language_model.model.layers"


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mx.array]:
    return publish(tmp_path_factory.mktemp("tensors") / "model")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    publish(tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 100 kB and slabs of 20 kB, so that there are many."""
    monkeypatch.setattr(plan, "_FILE", 100_000)
    monkeypatch.setattr(rewrite, "_ROWS", 20_000)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_a_folder_that_loads_in_the_one_row_layout(
    name: str, published: Path, tmp_path: Path, tensors: dict[str, mx.array]
) -> None:
    folder = convert(Folder(published), tmp_path / name, RECIPES[name])
    assert folder == tmp_path / name
    model = load_folder(folder)
    assert model.layout == "one_row"
    logits = model.forward(np.arange(20, 60))
    exact = load_folder(published).forward(np.arange(20, 60))
    assert mx.abs(logits - exact).max().item() < (0 if name == "bf16" else 5) + 1e-6
    assert (folder / "tokenizer.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["4bit", "8bit", "mxfp4"])
def test_each_tensor_is_what_mlx_makes_of_it_and_media_are_left_alone(
    name: str, published: Path, tmp_path: Path, tensors: dict[str, mx.array], small_pieces: None
) -> None:
    convert(Folder(published), tmp_path / "out", RECIPES[name])
    made: dict[str, mx.array] = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        made |= mx.load(str(file))
    config = load_config(tmp_path / "out")
    rule = {key: config.quantization[key] for key in ("group_size", "bits", "mode")}
    for tensor_name, tensor in tensors.items():
        path = tensor_name.removesuffix(".weight")
        if f"{path}.scales" not in made:
            assert tensor.ndim != 2 or not path.startswith("language_model")
            assert mx.array_equal(made.pop(tensor_name), tensor)
            continue
        expected = mx.quantize(tensor, **{**rule, **config.quantization.get(path, {})})
        for kind, part in zip(("weight", "scales", "biases"), expected, strict=False):
            assert mx.array_equal(made.pop(f"{path}.{kind}"), part)
    assert not made


def test_the_default_recipe_gives_more_bits_to_what_loses_most(
    published: Path, tmp_path: Path
) -> None:
    convert(Folder(published), tmp_path / "out", RECIPES["4bit"])
    quantization = load_config(tmp_path / "out").quantization
    own = {path: entry["bits"] for path, entry in quantization.items() if isinstance(entry, dict)}
    assert quantization["bits"] == 4
    assert own.pop("language_model.model.embed_tokens") == 6
    assert {own.pop(f"{LAYER}.{n}.self_attn.k_proj") for n in (2, 5)} == {8}
    assert set(own.values()) == {4}  # what is left only has smaller groups


def test_groups_of_a_full_layers_o_proj_fit_the_blocks_that_rotate() -> None:
    text = tiny_config().text_config  # half the rotated dims are 32
    path, shape = f"{LAYER}.2.self_attn.o_proj", (64, 1024)
    recipe = RECIPES["4bit-small"]
    assert storage_of(recipe, text, path, shape) == Storage(32, 4)
    assert storage_of(recipe, text, f"{LAYER}.1.self_attn.o_proj", shape) == Storage(64, 4)
    plain = replace(text, attention_k_eq_v=False)
    assert storage_of(recipe, plain, path, shape) == Storage(64, 4)
    assert storage_of(recipe, text, f"{LAYER}.1.mlp.down_proj", (64, 96)) == Storage(32, 4)
    assert storage_of(recipe, text, f"{LAYER}.1.mlp.down_proj", (64, 40)) is None


def test_the_12b_has_as_many_parameters_as_its_card_says() -> None:
    config = Config.from_dict(ARCHITECTURES["gemma-4-12B"])
    assert sum(int(np.prod(shape)) for shape in shapes(config).values()) == 11_959_730_224


def test_shapes_are_those_of_the_module_tree() -> None:
    for config in (tiny_config(), replace(tiny_config(), vision_config=None, audio_config=None)):
        built = {name: tuple(p.shape) for name, p in tree_flatten(Gemma4(config).parameters())}
        assert shapes(config) == built


def test_the_same_source_gives_the_same_bytes(
    published: Path, tmp_path: Path, small_pieces: None
) -> None:
    one = convert(Folder(published), tmp_path / "one", RECIPES["4bit"])
    two = convert(Folder(published), tmp_path / "two", RECIPES["4bit"])
    assert len(list(one.glob("model-*.safetensors"))) > 5
    assert content(one) == content(two)


KILLED = """
import os, signal, sys
from pathlib import Path
from mlx_gemma4.convert import convert, plan, rewrite
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.hub.sources import Folder
plan._FILE, rewrite._ROWS = 100_000, 20_000
source, left = Folder(Path(sys.argv[1])), int(sys.argv[3])

def killed(progress):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

convert.convert(source, Path(sys.argv[2]), RECIPES["4bit"], killed)
"""


def test_a_conversion_killed_at_ten_moments_ends_with_the_same_bytes(
    published: Path, tmp_path: Path, small_pieces: None
) -> None:
    whole = convert(Folder(published), tmp_path / "whole", RECIPES["4bit"])
    target = tmp_path / "killed"
    moments = random.Random(0)
    command = [sys.executable, "-c", KILLED, str(published), str(target)]
    for _ in range(10):
        after = moments.randint(1, 40)  # reports of progress
        assert subprocess.call([*command, str(after)]) == -signal.SIGKILL
        assert not target.exists()
    assert subprocess.call([*command, "-1"]) == 0
    assert content(target) == content(whole)
    assert not partial(target).exists()


def test_a_second_call_writes_only_what_is_missing(
    published: Path, tmp_path: Path, small_pieces: None
) -> None:
    target, seen = tmp_path / "out", list[Progress]()
    assert (
        convert(Folder(published), target, RECIPES["4bit"], seen.append, lambda: len(seen) > 60)
        is None
    )
    assert not target.exists()
    done = {path: path.stat().st_mtime_ns for path in partial(target).glob("model/*.safetensors")}
    assert done
    total = seen[0].total
    seen.clear()
    assert convert(Folder(published), target, RECIPES["4bit"], seen.append) == target
    for path, changed in done.items():
        assert (target / path.name).stat().st_mtime_ns == changed
    assert seen[0].total < total
    assert seen[-1].done == seen[-1].total
    assert content(target) == content(convert(Folder(published), tmp_path / "o", RECIPES["4bit"]))


def test_a_call_that_was_cut_after_the_last_step_is_done(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    remove = shutil.rmtree
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        convert(Folder(published), target, RECIPES["4bit"])
    assert remove is shutil.rmtree and partial(target).exists()
    assert convert(Folder(published), target, RECIPES["4bit"]) == target
    assert not partial(target).exists()


def test_what_was_begun_in_another_way_is_not_mixed(
    published: Path, tmp_path: Path, small_pieces: None
) -> None:
    target = tmp_path / "out"
    assert convert(Folder(published), target, RECIPES["4bit"], cancelled=lambda: True) is None
    with pytest.raises(Gemma4Error, match="another source, by another recipe"):
        convert(Folder(published), target, RECIPES["8bit"])
    os.utime(published / "model-00001-of-00003.safetensors", (0, 0))
    with pytest.raises(Gemma4Error, match="another source, by another recipe"):
        convert(Folder(published), target, RECIPES["4bit"])


def test_a_write_that_fails_leaves_no_file_under_its_name_and_no_source_is_released(
    published: Path, tmp_path: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, write, count = tmp_path / "out", rewrite._Output.write, [0]
    released: list[str] = []

    def fails_once(output: rewrite._Output, data: bytes) -> None:
        count[0] += 1
        if count[0] == 40:
            raise OSError(errno.ENOSPC, "no space")
        write(output, data)

    source = Folder(published)
    monkeypatch.setattr(source, "release", released.append)
    with monkeypatch.context() as patch:
        patch.setattr(rewrite._Output, "write", fails_once)
        with pytest.raises(Gemma4Error, match="disk is full"):
            convert(source, target, RECIPES["4bit"])
    whole = convert(Folder(published), tmp_path / "whole", RECIPES["4bit"])
    assert whole is not None and not target.exists()
    done = list(partial(target).glob("model/*.safetensors"))
    assert 0 < len(done) < len(list(whole.glob("*.safetensors")))
    for path in done:
        assert path.read_bytes() == (whole / path.name).read_bytes()
    planned = make_plan(source, RECIPES["4bit"]).files
    names = {path.name for path in done}
    for shard in released:
        assert {file.name for file in planned if file.shard == shard} <= names
    assert convert(source, target, RECIPES["4bit"]) == target
    assert content(target) == content(whole)


def test_two_conversions_into_one_folder_are_refused(published: Path, tmp_path: Path) -> None:
    target, tried = tmp_path / "out", []

    def again(progress: Progress) -> None:
        with pytest.raises(Gemma4Error, match="Another program"):
            convert(Folder(published), target, RECIPES["4bit"])
        tried.append(progress)

    convert(Folder(published), target, RECIPES["4bit"], again, lambda: bool(tried))
    assert len(tried) == 1


def test_a_folder_that_is_there_is_never_written_over(published: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(Gemma4Error, match="there already"):
        convert(Folder(published), tmp_path / "out", RECIPES["4bit"])
    assert content(tmp_path / "out") == {"mine.txt": b"mine"}


def test_a_disk_without_room_is_told_before_a_byte_is_written(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=disk.SPARE + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Gemma4Error, match="disk is too small"):
        convert(Folder(published), tmp_path / "out", RECIPES["4bit"])
    assert not list(tmp_path.rglob("*.part"))


def test_a_quantized_folder_is_not_quantized_again(published: Path, tmp_path: Path) -> None:
    convert(Folder(published), tmp_path / "out", RECIPES["8bit"])
    with pytest.raises(Gemma4Error, match="quantized already"):
        make_plan(Folder(tmp_path / "out"), RECIPES["4bit"])


def test_missing_unknown_and_damaged_tensors_are_found_before_anything_is_written(
    published: Path, tmp_path: Path
) -> None:
    first = published / "model-00001-of-00003.safetensors"
    tensors, index = mx.load(str(first)), json.loads((published / hub_cache.INDEX).read_text())
    name = next(iter(tensors))
    mx.save_safetensors(str(first), {n: t for n, t in tensors.items() if n != name})
    with pytest.raises(Gemma4Error, match="1 of its tensors are missing"):
        make_plan(Folder(published), RECIPES["4bit"])
    mx.save_safetensors(str(first), {**tensors, "model.more.weight": mx.zeros((2, 2))})
    with pytest.raises(Gemma4Error, match=r"1 of its tensors are unknown: more\.weight"):
        make_plan(Folder(published), RECIPES["4bit"])
    mx.save_safetensors(str(first), {**tensors, name: tensors[name][:1]})
    with pytest.raises(Gemma4Error, match="1 of its tensors have another shape"):
        make_plan(Folder(published), RECIPES["4bit"])
    mx.save_safetensors(str(first), {**tensors, name: tensors[name].astype(mx.int32)})
    with pytest.raises(Gemma4Error, match="not floating-point"):
        make_plan(Folder(published), RECIPES["4bit"])
    with first.open("r+b") as file:
        file.truncate(first.stat().st_size - 10)
    with pytest.raises(Gemma4Error, match="its header lists"):
        Folder(published)
    first.unlink()
    with pytest.raises(Gemma4Error, match="not there"):
        Folder(published)
    assert index["weight_map"]


def test_one_large_file_is_cut_into_several(published: Path, small_pieces: None) -> None:
    planned = make_plan(Folder(published), uniform(4, 64))
    for file in planned.files:
        assert file.nbytes <= 100_000 or len(file.parts) == 1
    assert {part.name for file in planned.files for part in file.parts} == set(
        shapes(tiny_config())
    )


def test_verify_finds_what_has_changed(published: Path, tmp_path: Path, small_pieces: None) -> None:
    folder = convert(Folder(published), tmp_path / "out", RECIPES["4bit"])
    record = verify(folder)
    assert record["source"] == "published" and record["commit"] is None
    assert set(record["files"]) == {path.name for path in folder.iterdir()} - {library.RECORD}
    shard = min(folder.glob("*.safetensors"))
    original = shard.read_bytes()
    shard.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(Gemma4Error, match=f"{shard.name} is damaged"):
        verify(folder)
    shard.unlink()
    with pytest.raises(Gemma4Error, match=f"{shard.name} is missing"):
        verify(folder)
    shard.write_bytes(original)
    (folder / "other.safetensors").write_bytes(original)
    with pytest.raises(Gemma4Error, match=r"other\.safetensors does not belong"):
        verify(folder)
    (folder / library.RECORD).unlink()
    with pytest.raises(Gemma4Error, match="cannot be checked"):
        verify(folder)


@pytest.mark.parametrize("value", [mx.nan, mx.inf, -mx.inf])
@pytest.mark.parametrize("kind", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("recipe", ["4bit", "mxfp4", "bf16"])
def test_weights_that_are_not_numbers_are_refused_by_name(
    recipe: str, kind: mx.Dtype, value: float, published: Path, tmp_path: Path, small_pieces: None
) -> None:
    """Quantizing would hide them: of a group with NaN mx.quantize makes ordinary numbers."""
    for name in ("layers.1.mlp.down_proj.weight", "layers.1.layer_scalar", "pos_embedding"):
        put(published, name, kind, value)
        with pytest.raises(Gemma4Error, match=rf"{name} holds NaN or infinity") as caught:
            convert(Folder(published), tmp_path / "out", RECIPES[recipe])
        assert caught.value.remedy == "Download the model again."
        assert not (tmp_path / "out").exists()
        put(published, name, kind, 1.0)
        shutil.rmtree(partial(tmp_path / "out"))


def test_what_an_adapter_makes_too_large_is_refused_by_name(
    published: Path, tmp_path: Path, small_pieces: None
) -> None:
    path = f"{LAYER}.1.mlp.down_proj"
    put(published, "layers.1.mlp.down_proj.weight", mx.float16, 1.0)
    outputs, inputs = shapes(tiny_config())[f"{path}.weight"]
    a, b = mx.full((inputs, 1), 1000.0), mx.full((1, outputs), 1000.0)
    adapter = Adapter({f"{path}.lora_a": a, f"{path}.lora_b": b}, 1, 1.0)
    for recipe in ("4bit", "bf16"):
        with pytest.raises(Gemma4Error, match=rf"With the adapter, {path}\.weight holds NaN"):
            convert(Folder(published), tmp_path / recipe, RECIPES[recipe], adapter=adapter)


def put(folder: Path, name: str, kind: mx.Dtype, value: float) -> None:
    """Write a number into the middle of a published tensor, and set the tensor's type."""
    places = json.loads((folder / hub_cache.INDEX).read_text())["weight_map"]
    (full,) = [key for key in places if key.endswith(f".{name}")]
    tensors = mx.load(str(folder / places[full]))
    flat = tensors[full].astype(kind).reshape(-1)
    flat[flat.size // 2] = value
    tensors[full] = flat.reshape(tensors[full].shape)
    mx.save_safetensors(str(folder / places[full]), tensors)
