"""Every case against transformers' numbers, however it is fed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlx_gemma4.cli.selftest.random_checkpoint import MEDIA
from mlx_gemma4.model.gemma4 import Gemma4
from tests.parity.conftest import SLACK, assert_same, embedded, feed, read_case

# Where there is no picture the rules do not differ, in the code as in the numbers.
WITH_PICTURES = [name for name, media in MEDIA.items() if media.images or media.videos]
PICTURES = [(rule, name) for rule in ("official", "forward") for name in WITH_PICTURES]
OTHERS = [("official", name) for name in MEDIA if name not in WITH_PICTURES]
every_case = pytest.mark.parametrize(("rule", "name"), PICTURES + OTHERS)
Build = Callable[..., Gemma4]


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@every_case
def test_one_forward_agrees(build: Build, name: str, rule: str, layout: str) -> None:
    model, case = build(rule, layout), read_case(name)
    assert model.layout == layout
    assert_same(model.forward(case.ids, **case.media), case.logits[rule])


@pytest.mark.parametrize("chunk", [1, 7, 16, 64])
@every_case
def test_chunks_agree(build: Build, name: str, rule: str, chunk: int) -> None:
    model, case = build(rule), read_case(name)
    inputs = embedded(model, case)
    cuts = inputs.cuts(chunk)
    logits = feed(model, inputs, model.make_cache(slack=SLACK), cuts)
    assert_same(logits, case.logits[rule])


@pytest.mark.parametrize("name", MEDIA)
def test_chunks_agree_in_the_plain_layout(build: Build, name: str) -> None:
    model, case = build("official", "plain"), read_case(name)
    inputs = embedded(model, case)
    logits = feed(model, inputs, model.make_cache(slack=SLACK), inputs.cuts(16))
    assert_same(logits, case.logits["official"])


@pytest.mark.parametrize("prefix", [1, 4, 30])
@every_case
def test_media_in_a_later_turn_agree(build: Build, name: str, rule: str, prefix: int) -> None:
    model, case = build(rule), read_case(name)
    inputs, kv_cache = embedded(model, case), model.make_cache(slack=SLACK)
    (_, border), *_ = inputs.cuts(prefix)
    logits = feed(model, inputs, kv_cache, [(0, border), (border, len(inputs))])
    assert_same(logits, case.logits[rule])


@pytest.mark.parametrize("name", [*WITH_PICTURES, "audio", "audio2_padded"])
def test_two_forwards_with_the_media_in_the_second_agree(build: Build, name: str) -> None:
    model, case = build("official"), read_case(name)
    kv_cache = model.make_cache()
    first = model.forward(case.ids[:4], cache=kv_cache)
    second = model.forward(case.ids[4:], **case.media, cache=kv_cache)
    assert_same(np.concatenate([first[0], second[0]]), case.logits["official"])


@pytest.mark.parametrize(("rule", "name"), [*PICTURES, ("official", "text_long")])
def test_splitting_queries_to_save_memory_is_exact(build: Build, name: str, rule: str) -> None:
    model, case = build(rule), read_case(name)
    inputs = embedded(model, case)
    # 20 queries by 40 keys by 4 heads in fp32: blocks are split too.
    logits = feed(
        model, inputs, model.make_cache(slack=SLACK), inputs.cuts(64), score_limit=20 * 40 * 4 * 4
    )
    assert_same(logits, case.logits[rule])


@pytest.mark.parametrize("rule", ["official", "forward"])
@pytest.mark.parametrize("name", ["text_long", "image1", "audio"])
def test_greedy_decoding_agrees(build: Build, name: str, rule: str) -> None:
    model, case = build(rule), read_case(name)
    ids, expected = case.greedy[rule]
    kv_cache = model.make_cache(slack=SLACK)
    steps = [np.array(model.forward(case.ids, **case.media, cache=kv_cache)[0, -1])]
    for _ in ids:
        steps.append(np.array(model.forward([int(steps[-1].argmax())], cache=kv_cache)[0, 0]))
    assert [int(step.argmax()) for step in steps[:-1]] == ids.tolist()
    assert_same(np.stack(steps), expected)
