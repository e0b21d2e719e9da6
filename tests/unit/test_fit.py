"""What is predicted before loading is what is held afterwards."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.checkpoint.quantize import quantize
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.checkpoint.safetensors import Tensor
from mlx_gemma4.footprint import estimate, summary
from mlx_gemma4.footprint.estimate import Machine, Model
from mlx_gemma4.generation import prefill_decode
from mlx_gemma4.generation.prefill_decode import finish, prefill
from mlx_gemma4.hub import catalog
from mlx_gemma4.model import cache, gemma4
from mlx_gemma4.model.cache import GlobalCache
from mlx_gemma4.model.text import Layout
from mlx_gemma4.session import prefix_cache
from mlx_gemma4.testing.doubles import tiny_config, tiny_model

HERE = Machine("a test", 10**12, "as much as it wants", "cpu", 4)
MIB = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit")
    save_folder(tiny_model(), path)
    return path


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Model:
    return summary.of_folder(folder).model


def twelve(recipe: str) -> Model:
    return summary.of("google/gemma-4-12B-it").converted(RECIPES[recipe])


def fill(held: cache.Cache, rows: int) -> None:
    """Hold so many more rows, without computing them."""
    for layer in held.layers:
        if isinstance(layer, GlobalCache):
            layer.update(held.offset, mx.ones((1, 1, rows, layer.width)))
        else:
            layer.update(held.offset, mx.ones((1, 2, rows, 32)), mx.ones((1, 2, rows, 32)))
    held.offset += rows
    mx.eval(held.arrays)


def test_its_constants_are_those_of_the_modules_that_it_may_not_import() -> None:
    assert estimate.STEP == cache.STEP
    assert gemma4.SCORE_LIMIT == estimate.SCORE_LIMIT
    assert prefix_cache.SEGMENT == estimate.SEGMENT
    here = "metal" if mx.metal.is_available() else "cpu"
    assert estimate.CHUNKS[here] == prefill_decode.CHUNK
    sliding = tiny_model().make_cache().layers[0]
    assert sliding.slack == estimate.SLACK


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_weights_of_every_recipe_are_told_to_the_byte(folder: Path, recipe: str) -> None:
    made = tiny_model()
    quantize(made, RECIPES[recipe])
    held = sum(tensor.nbytes for tensor in made.tensors().values())
    assert estimate.weights(summary.of_folder(folder).converted(RECIPES[recipe]), HERE) == held


def test_a_second_copy_of_the_output_head_is_not_counted(tiny: Model) -> None:
    head = {"lm_head.weight": Tensor("F32", (512, 64))}
    assert estimate.weights(
        replace(tiny, tensors={**tiny.tensors, **head}), HERE
    ) == estimate.weights(tiny, HERE)


def test_the_published_12b_has_its_published_size_without_any_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    stored = estimate.weights(twelve("bf16"), estimate.mac(64))
    assert stored == 2 * 11_959_730_224  # parameters, as published
    packages = [p for p in catalog.packages().values() if p.architecture == "gemma-4-12B"]
    assert len(packages) == 3
    assert {package.bytes for package in packages} == {stored}


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize("kv_bits", [None, 8, 4])
def test_the_rows_of_a_conversation_are_told_to_the_byte(
    tiny: Model, layout: Layout, kv_bits: int | None
) -> None:
    if layout == "plain":  # as with an o_proj whose groups cross the rotated dims
        scales = "language_model.model.layers.2.self_attn.o_proj.scales"
        tiny = replace(tiny, tensors={**tiny.tensors, scales: Tensor("F32", (64, 8))})
    assert tiny.one_row == (layout == "one_row")
    chunk, held = estimate.CHUNKS["cpu"], tiny_model(layout=layout).make_cache(kv_bits)
    for context in range(chunk, 4097, chunk):
        fill(held, chunk)
        said = estimate.need(tiny, HERE, context, kv_bits).rows
        assert held.nbytes <= said
        if context >= 2 * chunk:  # from here on a sliding layer's buffer is as long as it gets
            assert held.nbytes == said


@pytest.mark.parametrize(("system", "question"), [(100, 400), (300, 900), (700, 2000)])
def test_two_places_of_a_conversation_take_what_is_told(
    tiny: Model, system: int, question: int
) -> None:
    held = tiny_model().make_cache()
    places = []
    for stop in (system, question):
        fill(held, stop - held.offset)
        places.append(held.mark())
    for _ in range(8):
        fill(held, 512)
    own = {id(array) for array in held.arrays}
    kept = {id(a): a.nbytes for place in places for rows in place.buffers for a in rows.arrays}
    said = estimate.need(tiny, HERE, held.offset).places
    taken = sum(size for one, size in kept.items() if one not in own)
    assert 0 < taken <= said


@pytest.mark.parametrize("kv_bits", [None, 8])
@pytest.mark.parametrize("count", [1, 64])
def test_a_step_takes_no_more_than_is_told_and_not_much_less(
    tiny: Model, kv_bits: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "CHUNKS", {"cpu": 64})
    made = tiny_model()
    held = made.make_cache(kv_bits)
    for _ in range(16):
        fill(held, 64)
    more = made.embed(np.arange(count) + 20)
    mx.eval(more.embeddings)
    start = mx.get_active_memory() - held.nbytes
    mx.reset_peak_memory()
    hidden = finish(prefill(made, more, held, 64))
    assert hidden is not None
    mx.eval(made.logits(hidden))
    measured = mx.get_peak_memory() - start
    need = estimate.need(tiny, HERE, held.offset, kv_bits)
    said = need.rows + (need.answering if count == 1 else need.reading)
    assert 0.5 * said <= measured <= said


@pytest.mark.parametrize(
    ("memory", "budget"), [(16, 11.45), (18, 12.88), (24, 17.18), (32, 22.91), (36, 28.99)]
)
def test_a_mac_gives_two_thirds_up_to_32_gb_and_then_three_quarters(
    memory: int, budget: float
) -> None:
    assert round(estimate.mac(memory).budget / 1e9, 2) == budget


@given(st.integers(10 * MIB, 40 * MIB), st.sampled_from([None, 8, 4]))
@settings(max_examples=40, deadline=None)
def test_the_longest_context_fits_and_the_next_does_not(budget: int, kv_bits: int | None) -> None:
    text = replace(tiny_config().text_config, max_position_embeddings=8192)
    small = Model(text, {"norm": Tensor("F32", (MIB,))})
    place = replace(HERE, budget=budget)
    longest = estimate.largest_context(small, place, kv_bits)
    if longest:
        assert estimate.need(small, place, longest, kv_bits).total <= budget
    if longest < 8192:
        assert estimate.need(small, place, longest + estimate.STEP, kv_bits).total > budget


@pytest.mark.parametrize("kv_bits", [None, 8])
def test_more_rows_never_take_less(tiny: Model, kv_bits: int | None) -> None:
    large = twelve("4bit")
    for which, place in ((tiny, HERE), (large, HERE), (large, estimate.mac(16))):
        longest = which.text.max_position_embeddings
        contexts = range(1, longest + 1, longest // 97)
        totals = [estimate.need(which, place, context, kv_bits).total for context in contexts]
        assert totals == sorted(totals)


def test_a_mac_with_16_gb_holds_the_12b_at_4_bits_with_its_whole_context_in_8() -> None:
    place = estimate.mac(16)
    assert estimate.largest_context(twelve("4bit"), place, 8) == 262144
    assert estimate.largest_context(twelve("8bit"), place, 8) == 0
    # 8 full layers of 640 codes, and of 10 groups with a scale and a bias of two bytes each
    without = estimate.need(twelve("4bit"), place, 131072, 8).rows
    assert estimate.need(twelve("4bit"), place, 262144, 8).rows - without == 8 * 131072 * (640 + 40)


def test_floats_are_held_as_float32_on_a_cpu() -> None:
    stored, on_cpu = (
        estimate.weights(twelve("bf16"), estimate.mac(64)),
        estimate.weights(twelve("bf16"), HERE),
    )
    assert on_cpu == 2 * stored


def test_pictures_are_counted_as_levels_and_no_more_than_the_context_takes(tiny: Model) -> None:
    """A token of a picture is 48 x 48 pixels of three bytes; 20 screenshots take 1,120 each."""
    assert estimate.need(tiny, HERE, 256).pictures == 256 * 6912
    assert estimate.need(twelve("4bit"), HERE, 262144).pictures == 20 * 1120 * 6912
    blind = {name: t for name, t in tiny.tensors.items() if "vision" not in name}
    assert estimate.need(replace(tiny, tensors=blind), HERE, 256).pictures == 0
