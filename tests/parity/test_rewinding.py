"""Going back, by marks and by slack, and feeding again; quantized rows; the GPU's attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlx_gemma4.cli.selftest.random_checkpoint import MEDIA
from mlx_gemma4.model import attention
from mlx_gemma4.model.gemma4 import Gemma4
from tests.parity.conftest import SLACK, assert_same, embedded, feed, read_case

Build = Callable[..., Gemma4]


@pytest.mark.parametrize("name", MEDIA)
def test_rewinding_across_the_window_and_replaying_agrees(build: Build, name: str) -> None:
    model, case = build("official"), read_case(name)
    inputs, kv_cache = embedded(model, case), model.make_cache(slack=SLACK)
    cuts = inputs.cuts(7)
    before, after = cuts[: len(cuts) // 3], cuts[len(cuts) // 3 :]
    start = after[0][0]
    first = feed(model, inputs, kv_cache, before)
    mark = kv_cache.mark()
    # Another branch first, longer than window and slack together.
    other = model.embed(np.arange(100, 160))
    feed(model, other, kv_cache, other.cuts(16))
    assert kv_cache.earliest > start
    kv_cache.rewind(mark)
    assert kv_cache.offset == start
    second = feed(model, inputs, kv_cache, after)
    end = kv_cache.mark()
    assert_same(np.concatenate([first, second]), case.logits["official"])
    # The same rows again in one piece, then forward to where the replay ended.
    kv_cache.rewind(mark)
    again = feed(model, inputs, kv_cache, [(start, len(inputs))])
    assert_same(np.concatenate([first, again]), case.logits["official"])
    kv_cache.rewind(end)
    assert kv_cache.offset == len(inputs)


@pytest.mark.parametrize("name", ["text_long", "image_audio", "video"])
def test_dropping_rows_within_the_slack_and_replaying_agrees(build: Build, name: str) -> None:
    model, case = build("official"), read_case(name)
    inputs, kv_cache = embedded(model, case), model.make_cache(slack=SLACK)
    logits = []
    for start, stop in inputs.cuts(16):
        noise = model.embed(np.arange(200, 200 + SLACK))
        feed(model, noise, kv_cache, noise.cuts(3))
        kv_cache.rewind_to(start)
        logits.append(feed(model, inputs, kv_cache, [(start, stop)]))
    assert_same(np.concatenate(logits), case.logits["official"])


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize(("bits", "agreement", "mean"), [(8, 0.97, 0.03), (4, 0.8, 0.4)])
def test_quantized_rows_stay_close(
    build: Build, bits: int, agreement: float, mean: float, layout: str
) -> None:
    model = build("official", layout)
    same, differences = [], []
    for name in ("text_long", "image_audio", "video"):
        case = read_case(name)
        inputs, kv_cache = embedded(model, case), model.make_cache(kv_bits=bits)
        logits = feed(model, inputs, kv_cache, inputs.cuts(16))
        expected = case.logits["official"]
        same.append(logits.argmax(-1) == expected.argmax(-1))
        differences.append(np.abs(logits - expected).mean(-1))
    assert np.concatenate(same).mean() >= agreement
    # Quantized rows differ a little; rows that were not quantized at all would not.
    assert 1e-4 < np.concatenate(differences).mean() <= mean


@pytest.mark.parametrize("name", ["image1_over_window", "image_audio", "video"])
@pytest.mark.parametrize("rule", ["official", "forward"])
def test_attention_of_the_gpu_path_agrees(
    build: Build, name: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mx.fast` with the mask strings and strided rows that a GPU is given, on the CPU."""
    model, case = build(rule), read_case(name)
    for layer in model.language_model.model.layers:
        monkeypatch.setattr(layer.self_attn, "attend_piece", attention.attend_piece)
    inputs = embedded(model, case)
    logits = feed(model, inputs, model.make_cache(slack=SLACK), inputs.cuts(16))
    assert_same(logits, case.logits[rule])
