"""What speculation draws is distributed as the model's own draws: chi-square over three ids.

The model is a table: after each of its 16 ids, a row of logits; every third row is that after id 0,
so that a long reply is many draws of three ids. Its drafter is another table, near the first, of
which the likeliest id is proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from scipy.stats import chisquare

from mlx_gemma4.generation.prefill_decode import decode
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.generation.speculate import Place

IDS = 16
DRAFTS = 4
DRAWS = [1_500, pytest.param(20_000, marks=pytest.mark.long)]
RNG = np.random.default_rng(11)
MODEL = RNG.normal(size=(IDS, IDS)).astype(np.float32) * 1.2
DRAFTER = MODEL + RNG.normal(size=(IDS, IDS)).astype(np.float32) * 0.5


class TableModel:
    """As much of a `Gemma4` as `decode` needs; a hidden state is a row of logits."""

    table = mx.array(MODEL)

    def __init__(self) -> None:
        self.language_model = SimpleNamespace(
            model=SimpleNamespace(embed=lambda ids: ids[None]), logits=self.final
        )

    def hidden(self, inputs: Any, cache: Any) -> mx.array:
        ids = inputs.embeddings[0]
        before = np.arange(cache.offset, cache.offset + len(ids)) % 3 > 0
        cache.offset += len(ids)
        return self.table[ids * mx.array(before, mx.uint32)][None]

    def final(self, hidden: mx.array) -> mx.array:
        return hidden

    logits = final


class TableCache:
    """Counts rows; the first id is drawn from row 0."""

    layers = ()
    offset = 1

    def rewind_to(self, offset: int) -> None:
        self.offset = offset


class TableDrafter:
    """Proposes the likeliest ids of its own table, and counts how many were accepted."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()

    likeliest = DRAFTER.argmax(-1).astype(np.uint32)

    def propose(self, place: Place, cache: Any, most: int) -> mx.array:
        last, drafts = int(np.array(place.following)[0]), []
        for ahead in range(min(most, DRAFTS)):
            last = int(self.likeliest[last if (cache.offset + ahead) % 3 else 0])
            drafts.append(last)
        return mx.array(drafts, mx.uint32)

    def observe(self, ids: Sequence[int], drafted: int) -> None:
        self.accepted.add(len(ids) - 1)


def soft(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(-1, keepdims=True))


def p_value(triples: np.ndarray) -> float:
    """That three ids after id 0 are distributed as MODEL's; rare triples count together."""
    p = soft(MODEL.astype(np.float64))
    expected = len(triples) * (p[0][:, None, None] * p[:, :, None] * p[None]).ravel()
    counted = np.bincount(triples @ [IDS * IDS, IDS, 1], minlength=IDS**3)
    often = expected >= 5
    observed = np.append(counted[often], counted[~often].sum())
    return float(chisquare(observed, np.append(expected[often], expected[~often].sum())).pvalue)


@pytest.mark.parametrize("draws", DRAWS)
def test_speculation_keeps_the_distribution(draws: int) -> None:
    model, start, drafter = TableModel(), mx.array(MODEL[0])[None, None], TableDrafter()
    what: tuple[Any, ...] = (
        model,
        start,
        TableCache(),
        Sampler(seed=3),
        (),
        3 * draws,
        None,
        drafter,
    )
    assert p_value(np.array(list(decode(*what))).reshape(draws, 3)) > 0.01
    assert drafter.accepted >= {0, 1, 2}


@pytest.mark.parametrize("draws", DRAWS)
def test_the_rule_of_transformers_5_23_with_the_likeliest_id_does_not(draws: int) -> None:
    """It accepts by p / q, as if q had drawn the proposal, and else draws from p - q."""
    rng = np.random.default_rng(0)
    p, q = soft(MODEL), soft(DRAFTER)
    triples = np.zeros((draws, 3), int)
    before = np.zeros(draws, int)
    for place in range(3):
        proposed = q[before].argmax(-1)
        rows = np.arange(draws)
        kept = rng.random(draws) <= p[before, proposed] / q[before, proposed]
        left = np.clip(p[before] - q[before], 0, None)
        sums = np.cumsum(left / left.sum(-1, keepdims=True), -1)
        others = (rng.random(draws)[:, None] < sums).argmax(-1)
        before = triples[rows, place] = np.where(kept, proposed, others)
    assert p_value(triples) < 1e-6
