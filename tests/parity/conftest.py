"""The oracle's cases and models that run them, with buffers so small that they often run full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli.selftest.random_checkpoint import MEDIA, clip, picture, write_checkpoint
from mlx_gemma4.model import cache as kv
from mlx_gemma4.model.attention import MaskRule
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.model.text import Layout
from tests.oracle.compact import from_planes

CASES = Path(__file__).parent.parent / "oracle" / "cases"
SLACK = 8
BOUND = 2e-3  # on the largest difference of a logit; their standard deviation is about 5


@dataclass(frozen=True)
class Case:
    """One conversation and transformers' logits (T, vocab) for it, by mask rule."""

    name: str
    ids: np.ndarray
    images: list[tuple[np.ndarray, np.ndarray]]
    videos: list[tuple[np.ndarray, np.ndarray]]
    audio: list[np.ndarray]
    logits: dict[str, np.ndarray]
    greedy: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def media(self) -> dict[str, list]:
        return {"images": self.images, "videos": self.videos, "audio": self.audio}


@cache
def read_case(name: str) -> Case:
    stored, media = np.load(CASES / f"{name}.npz"), MEDIA[name]
    logits, greedy = {}, {}
    # Without a picture both rules see the same, and only one set is stored.
    for rule, suffix in (("forward", ""), ("official", "_official")):
        suffix = suffix if f"logits{suffix}.low" in stored else ""
        logits[rule] = from_planes(stored, f"logits{suffix}")
        if f"greedy_ids{suffix}" in stored:
            ids = stored[f"greedy_ids{suffix}"].astype(int)
            greedy[rule] = (ids, from_planes(stored, f"greedy_logits{suffix}"))
    return Case(
        name,
        stored["input_ids"].astype(int),
        [picture(*spec) for spec in media.images],
        [picture(*spec) for spec in media.videos],
        [clip(*spec) for spec in media.audio],
        logits,
        greedy,
    )


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sliding layers move to new buffers every 16 rows at most, not every 256."""
    monkeypatch.setattr(kv, "STEP", 16)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oracle")
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def build(checkpoint: Path) -> Callable[..., Gemma4]:
    @cache
    def built(rule: MaskRule, layout: Layout = "one_row") -> Gemma4:
        model = load_folder(checkpoint, layout=layout)
        model.mask_rule = rule
        return model

    return built


def embedded(model: Gemma4, case: Case) -> Inputs:
    return model.embed(case.ids, **case.media)


def feed(
    model: Gemma4, inputs: Inputs, kv_cache: kv.Cache, cuts: list[tuple[int, int]], **options: int
) -> np.ndarray:
    """Logits (tokens, vocab) of consecutive chunks, each computed before the next one starts."""
    parts = []
    for start, stop in cuts:
        hidden = model.hidden(inputs.slice(start, stop), kv_cache, **options)
        parts.append(np.array(model.logits(hidden)[0]))
    return np.concatenate(parts)


def assert_same(logits: mx.array | np.ndarray, expected: np.ndarray) -> None:
    """Within the bound, and the same first choice wherever the reference is not undecided."""
    logits = np.array(logits).reshape(expected.shape)
    assert np.abs(logits - expected).max() <= BOUND
    second, first = np.sort(expected, axis=-1)[:, -2:].T
    decided = first - second > 1e-2
    assert decided.any()
    assert (logits.argmax(-1) == expected.argmax(-1))[decided].all()
