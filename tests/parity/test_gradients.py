"""Gradients against transformers' stored numbers, and the forward pass that they come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_gemma4.checkpoint.adapters import permuted
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.permute import permute
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.tune import lora
from mlx_gemma4.tune.train import answer_loss
from tests.oracle.gradients import (
    CASE,
    LEARNED,
    RANK,
    SCALE,
    difference,
    lora_matrices,
    products,
)
from tests.parity.conftest import read_case

STORED = Path(__file__).parent.parent / "oracle" / "gradients.npz"
BOUND = 1e-4  # of a gradient's length
SPLIT = 4 * 4 * 20 * 40  # bytes of scores: 20 queries by 40 keys by 4 heads
Build = Callable[..., Gemma4]


@cache
def stored(kind: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{kind}."): value
        for name, value in np.load(STORED).items()
        if name.startswith(f"{kind}.")
    }


def loss(
    model: Gemma4, recompute: bool = True, score_limit: int = 10**9, blocks: bool = True
) -> mx.array:
    case = read_case(CASE)
    inputs = model.embed(case.ids, **case.media)
    if not blocks:
        inputs = Inputs(inputs.embeddings, np.zeros_like(inputs.blocks))
    hidden = model.training_hidden(inputs, recompute=recompute, score_limit=score_limit)
    rows = hidden[:, -LEARNED - 1 : -1]
    return answer_loss(model, rows, mx.array(case.ids[-LEARNED:]))


def gradients(model: Gemma4, **options: bool | int) -> tuple[float, dict[str, mx.array]]:
    value, tree = nn.value_and_grad(model, lambda: loss(model, **options))()
    return value.item(), dict(tree_flatten(tree))


def worst(found: dict[str, mx.array], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    # transformers keeps the scalar of a layer as a buffer, which has no gradient
    found = {name: value for name, value in found.items() if not name.endswith("layer_scalar")}
    assert set(found) == set(expected) - {"loss"}
    return max((difference(products(np.array(found[n])), expected[n]), n) for n in found)


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize("rule", ["official", "forward"])
def test_every_tensor_has_the_gradient_of_transformers(
    build: Build, rule: str, layout: str, recompute: bool
) -> None:
    model, expected = build(rule, layout), stored(f"dense.{rule}")
    value, found = gradients(model, recompute=recompute)
    assert value == pytest.approx(float(expected["loss"]), rel=1e-5)
    if layout == "one_row":
        found = permute(found, model.config.text_config, back=True)
    far, name = worst(found, expected)
    assert far <= BOUND, name


@pytest.mark.parametrize("layout", ["one_row", "plain"])
def test_every_matrix_of_a_lora_has_the_gradient_of_transformers(
    checkpoint: Path, layout: str
) -> None:
    model, expected = load_folder(checkpoint, layout=layout), stored("lora.official")
    paths = lora.add(model, RANK, SCALE, seed=0)
    shapes = {name: value.shape for name, value in lora.trained(model).items()}
    tensors = {}
    for path in paths:
        a, b = lora_matrices(path, shapes[f"{path}.lora_a"][0], shapes[f"{path}.lora_b"][1])
        tensors |= {f"{path}.lora_a": mx.array(a), f"{path}.lora_b": mx.array(b)}
    if layout == "one_row":
        tensors = permuted(tensors, model.config.text_config)
    model.load_weights(list(tensors.items()), strict=False)
    value, found = gradients(model)
    assert value == pytest.approx(float(expected["loss"]), rel=1e-5)
    if layout == "one_row":
        found = permuted(found, model.config.text_config, back=True)
    far, name = worst(found, expected)
    assert far <= BOUND, name


def test_a_gradient_that_is_wrong_by_a_thousandth_is_found(build: Build) -> None:
    expected = stored("dense.official")
    _, found = gradients(build("official", "plain"))
    name = "language_model.model.layers.5.self_attn.o_proj.weight"
    found[name] = found[name] + 1e-3 * found[name][::-1]
    assert worst(found, expected)[0] > 3 * BOUND


def test_splitting_the_scores_changes_no_gradient(build: Build) -> None:
    model = build("official")
    value, whole = gradients(model)
    split_value, split = gradients(model, score_limit=SPLIT)
    assert split_value == pytest.approx(value, rel=1e-6)
    for name, gradient in whole.items():
        assert mx.linalg.norm(split[name] - gradient) <= 2e-5 * mx.linalg.norm(gradient), name


def test_the_loss_is_that_of_an_ordinary_forward(build: Build) -> None:
    model, case = build("official"), read_case(CASE)
    logits = model.forward(case.ids, **case.media)[0, -LEARNED - 1 : -1]
    targets = mx.array(case.ids[-LEARNED:])
    expected = nn.losses.cross_entropy(logits, targets, reduction="sum").item()
    assert loss(model).item() == pytest.approx(expected, rel=1e-5)


def test_a_picture_is_trained_with_its_own_mask(build: Build) -> None:
    # mlx-vlm 0.7.10 trains every picture causally: as if the blocks were not there
    model = build("official")
    assert abs(loss(model).item() - loss(model, blocks=False).item()) > 1e-2


def test_conversations_side_by_side_have_the_gradients_of_each(build: Build) -> None:
    model = build("official")
    cases = [read_case(name) for name in ("image_audio", "audio", "image1_over_window")]

    def summed(*together: int) -> mx.array:
        inputs = [model.embed(cases[n].ids, **cases[n].media) for n in together]
        hidden = model.training_hidden(*inputs, score_limit=SPLIT)
        return (hidden * mx.cos(mx.arange(hidden.shape[-1]))).sum()

    value, whole = nn.value_and_grad(model, lambda: summed(0, 1, 2))()
    alone = [nn.value_and_grad(model, lambda n=n: summed(n))() for n in range(3)]
    assert value.item() == pytest.approx(sum(one.item() for one, _ in alone), rel=1e-4, abs=1e-2)
    parts = [dict(tree_flatten(tree)) for _, tree in alone]
    for name, gradient in tree_flatten(whole):
        expected = parts[0][name] + parts[1][name] + parts[2][name]
        # the final norm takes out what the last scalar does: its gradient is rounding alone
        least = 1.0 if name.endswith("layers.11.layer_scalar") else 1e-2
        size = max(mx.linalg.norm(expected).item(), least)
        assert mx.linalg.norm(gradient - expected) <= 1e-4 * size, name
