"""A model that is cut between its layers computes the logits of one process, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.model.attention import Dense, Quantized
from mlx_gemma4.model.cache import Cache
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from tests.cluster.processes import lead

Logits = list[np.ndarray]
IMAGE, AUDIO = 8, 11


def feed(model: Gemma4, inputs: Inputs, cache: Cache, chunk: int) -> Logits:
    """Logits of each chunk."""
    parts = [inputs.slice(*piece) for piece in inputs.cuts(chunk)]
    return [np.array(model.logits(model.hidden(part, cache))) for part in parts]


def picture(seed: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    patches = np.random.default_rng(seed).integers(0, 256, (side * side, 6912), np.uint8)
    positions = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    return patches, positions


def sound(seed: int, frames: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((frames, 640), np.float32)


def ids(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 500, count)


def text(model: Gemma4) -> Logits:
    return feed(model, model.embed(ids(90)), model.make_cache(), 32)


def picture_and_sound(model: Gemma4) -> Logits:
    prompt = np.concatenate([ids(9), [IMAGE] * 36, ids(7, 1), [AUDIO] * 20, ids(5, 2)])
    inputs = model.embed(prompt, images=[picture(0, 6)], audio=[sound(0, 20)])
    return feed(model, inputs, model.make_cache(), 32)


def two_pictures(model: Gemma4) -> Logits:
    prompt = np.concatenate([ids(3), [IMAGE] * 49, [IMAGE] * 16, ids(40, 1)])
    inputs = model.embed(prompt, images=[picture(1, 7), picture(2, 4)])
    return feed(model, inputs, model.make_cache(), 24)


def quantized_rows(model: Gemma4) -> Logits:
    return feed(model, model.embed(ids(80)), model.make_cache(kv_bits=8), 32)


def live_hearing(model: Gemma4) -> Logits:
    cache, logits = model.make_cache(), []
    logits += feed(model, model.embed(ids(30)), cache, 512)
    for number in range(3):  # seven frames each, as they come
        inputs = model.embed(np.full(7, AUDIO), audio=[sound(number, 7)])
        logits += feed(model, inputs, cache, 512)
    return logits + feed(model, model.embed(ids(6, 1)), cache, 512)


def rewind(model: Gemma4) -> Logits:
    cache = model.make_cache(slack=16)
    logits = feed(model, model.embed(ids(60)), cache, 20)
    cache.rewind_to(50)
    logits += feed(model, model.embed(ids(8, 1)), cache, 4)
    cache.rewind_to(cache.offset)
    return logits + feed(model, model.embed(ids(6, 2)), cache, 1)


def proposals(model: Gemma4) -> Logits:
    """Several rows at once, of which some are taken back, as speculation does."""
    cache = model.make_cache()
    logits = feed(model, model.embed(ids(40)), cache, 20)
    for number, kept in enumerate((5, 0, 3)):
        before = cache.offset
        logits += feed(model, model.embed(ids(5, 30 + number)), cache, 8)
        cache.rewind_to(before + kept)
    return logits + feed(model, model.embed(ids(2, 40)), cache, 1)


def far_mark(model: Gemma4) -> Logits:
    cache = model.make_cache(slack=16)
    logits = feed(model, model.embed(ids(40)), cache, 20)
    mark = cache.mark()
    logits += feed(model, model.embed(ids(600, 1)), cache, 300)
    assert cache.earliest > mark.offset
    cache.rewind(mark)
    return logits + feed(model, model.embed(ids(30, 2)), cache, 15)


def two_conversations(model: Gemma4) -> Logits:
    one, other = model.make_cache(), model.make_cache(kv_bits=4)
    logits = []
    for number in range(2):
        logits += feed(model, model.embed(ids(12, number)), one, 6)
        logits += feed(model, model.embed(ids(9, 10 + number)), other, 9)
    return logits


def refilled(model: Gemma4) -> Logits:
    """What a cache holds goes to another one, as from a file."""
    cache, again = model.make_cache(), model.make_cache()
    feed(model, model.embed(ids(70)), cache, 30)
    tensors = cache.tensors()
    mx.eval(tensors)
    again.fill(70, tensors)
    held = [np.array(tensors[name]) for name in sorted(tensors)]
    return held + feed(model, model.embed(ids(20, 1)), again, 10)


def rows_of_a_drafter(model: Gemma4) -> Logits:
    """What a drafter reads: the final row, and what the last row sees in the last layers."""
    found = []
    for bits in (None, 8):
        cache = model.make_cache(kv_bits=bits, slack=16)
        mark = cache.mark()

        def look(count: int, seed: int, cache: Cache = cache) -> None:
            hidden = model.hidden(model.embed(ids(count, seed)), cache)
            found.append(np.array(model.final(hidden[:, -1:])))
            for layer in model.config.text_config.last_layers.values():
                found.extend(map(np.array, flat(cache.seen(layer))))

        for number, count in enumerate((70, 1, 5, 3, 300, 9)):
            look(count, number)
            cache.rewind_to(cache.offset - min(3, count))
        far, tensors = cache.mark(), cache.tensors()
        mx.eval(tensors)
        offset = cache.offset
        cache.rewind(mark)
        look(40, 9)
        cache.rewind(far)
        look(2, 10)
        cache = model.make_cache(kv_bits=bits, slack=16)
        cache.fill(offset, tensors)
        look(2, 10, cache)
    return found


def flat(rows: Dense | Quantized) -> list[mx.array]:
    return [rows.keys, rows.values] if isinstance(rows, Dense) else [*rows.packed]


CASES: tuple[Callable[[Gemma4], Logits], ...] = (
    text,
    picture_and_sound,
    two_pictures,
    quantized_rows,
    live_hearing,
    rewind,
    proposals,
    far_mark,
    two_conversations,
    refilled,
    rows_of_a_drafter,
)


def compare(
    hosts: list[str], folders: dict[str, str], cut: list[int], cases: list[str]
) -> dict[str, Any]:
    """In a leader: for each case, how many arrays there are and how many of them differ."""
    result = {}
    for name, folder in folders.items():
        alone = mlx_gemma4.load(folder)
        spread = mlx_gemma4.load(folder, hosts=Hosts(tuple(hosts), tuple(cut), patience=120))
        for case in (case for case in CASES if case.__name__ in cases):
            wanted, found = case(alone), case(spread)
            same = [a.tobytes() == b.tobytes() for a, b in zip(wanted, found, strict=True)]
            result[f"{name}, {case.__name__}"] = [len(same), same.count(False)]
    return result


WHOLE = "GEMMA4_WHOLE_CLUSTER"
"""Set by `make cluster`: every folder on every cut, which takes minutes on two cores."""


@pytest.mark.parametrize(
    ("hosts", "cut", "names"),
    [
        (["local"], [], ["tiny fp32", "wide 4bit"]),
        (["local", "local"], [], ["tiny 4bit", "wide fp32"]),
        (["local"], [1], ["tiny 4bit"]),
        (["local", "local"], [4, 5], ["tiny fp32"]),
    ],
    ids=["2 ranks", "3 ranks", "2 unequal ranks", "3 unequal ranks"],
)
def test_logits_are_those_of_one_process_bit_for_bit(
    hosts: list[str], cut: list[int], names: list[str], folders: dict[str, str]
) -> None:
    whole = bool(os.environ.get(WHOLE)) and not cut
    chosen = {name: folders[name] for name in (folders if whole else names)}
    some = CASES[-2:] if cut else CASES if whole else CASES[:-1]
    cases = [case.__name__ for case in some]
    found = lead("tests.cluster.test_same_logits", "compare", hosts, chosen, cut, cases)
    assert len(found) == len(cases) * len(chosen)
    assert all(count >= 3 for count, _ in found.values())
    assert [name for name, (_, differing) in found.items() if differing] == []
