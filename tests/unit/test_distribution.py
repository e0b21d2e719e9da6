"""What speculation draws is distributed as what the model says: chi-square over three ids.

The model is a table: after each of its 16 ids, a row of logits. Its drafter is another table, near
the first, of which the likeliest id is proposed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
from scipy.stats import chisquare

from mlx_gemma4.generation.prefill_decode import decode
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.generation.speculate import Place

IDS = 16
DRAWS = int(os.environ.get("DRAWS", "4000"))  # a run with 20000 takes a minute
RNG = np.random.default_rng(11)
MODEL = RNG.normal(size=(IDS, IDS)).astype(np.float32) * 1.2
DRAFTER = MODEL + RNG.normal(size=(IDS, IDS)).astype(np.float32) * 0.5


class TableModel:
    """As much of a `Gemma4` as `decode` needs; a hidden state is a row of logits."""

    def __init__(self) -> None:
        table = mx.array(MODEL)
        self.language_model = SimpleNamespace(
            model=SimpleNamespace(embed=lambda ids: table[ids][None])
        )

    def hidden(self, inputs: Any, cache: Any) -> mx.array:
        cache.offset += inputs.embeddings.shape[1]
        return inputs.embeddings

    def logits(self, hidden: mx.array) -> mx.array:
        return hidden


class TableCache:
    """Counts rows."""

    layers = ()
    offset = 1

    def rewind_to(self, offset: int) -> None:
        self.offset = offset


class TableDrafter:
    """Proposes the likeliest ids of its own table, and counts how many were accepted."""

    def __init__(self) -> None:
        self.accepted: list[tuple[int, int]] = []

    likeliest = mx.array(DRAFTER.argmax(-1).astype(np.uint32))

    def propose(self, place: Place, cache: Any, most: int) -> mx.array:
        drafts = [self.likeliest[place.following]]
        for _ in range(most - 1):
            drafts.append(self.likeliest[drafts[-1]])
        return mx.concatenate(drafts)

    def observe(self, ids: Sequence[int], drafted: int) -> None:
        self.accepted.append((drafted, len(ids) - 1))


def soft(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def p_value(triples: np.ndarray) -> float:
    """That three ids after id 0 are distributed as MODEL's; rare triples count together."""
    p = soft(MODEL.astype(np.float64))
    expected = DRAWS * (p[0][:, None, None] * p[:, :, None] * p[None]).ravel()
    counted = np.bincount(triples @ [IDS * IDS, IDS, 1], minlength=IDS**3)
    often = expected >= 5
    observed = np.append(counted[often], counted[~often].sum())
    return float(chisquare(observed, np.append(expected[often], expected[~often].sum())).pvalue)


def test_speculation_keeps_the_distribution() -> None:
    model, start = TableModel(), mx.array(MODEL[0])[None, None]
    triples, drafter = [], TableDrafter()
    for seed in range(DRAWS):
        cache, sampler = TableCache(), Sampler(seed=seed)
        drawing = decode(model, start, cache, sampler, (), 4, None, drafter)  # type: ignore[arg-type]
        triples.append([next(drawing) for _ in range(3)])
    assert {(2, 0), (2, 1), (2, 2)} <= set(drafter.accepted)
    assert p_value(np.array(triples)) > 0.01


def test_the_rule_of_transformers_5_23_with_the_likeliest_id_does_not() -> None:
    """It accepts by p / q, as if q had drawn the proposal, and else draws from p - q."""
    rng = np.random.default_rng(0)
    p, q = soft(MODEL), soft(DRAFTER)
    triples = np.zeros((DRAWS, 3), int)
    before = np.zeros(DRAWS, int)
    for place in range(3):
        proposed = q[before].argmax(-1)
        rows = np.arange(DRAWS)
        kept = rng.random(DRAWS) <= p[before, proposed] / q[before, proposed]
        left = np.clip(p[before] - q[before], 0, None)
        sums = np.cumsum(left / left.sum(-1, keepdims=True), -1)
        others = (rng.random(DRAWS)[:, None] < sums).argmax(-1)
        before = triples[rows, place] = np.where(kept, proposed, others)
    assert p_value(triples) < 1e-6
