"""Chained drafts against transformers' numbers (`tests/oracle/make_drafter_case.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.checkpoint.drafter import load_drafter
from mlx_gemma4.model.gemma4 import Gemma4
from tests.oracle.compact import from_planes
from tests.oracle.drafter_checkpoint import write_drafter
from tests.parity.conftest import CASES, SLACK, assert_same

WINDOW = 32
ROWS = (5, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 7, 150)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drafter")
    write_drafter(folder)
    return folder


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize("rows", ROWS)
def test_six_drafts_in_a_row_agree(
    build: Callable[..., Gemma4], folder: Path, rows: int, layout: str
) -> None:
    model, stored = build("official", layout), np.load(CASES / "drafter.npz")
    assert model.layout == layout
    drafter, expected = load_drafter(folder, model), from_planes(stored, f"logits_{rows}")
    inputs, cache = model.embed(stored[f"ids_{rows}"].astype(int)), model.make_cache(slack=SLACK)
    for start, stop in inputs.cuts(16):
        hidden = model.hidden(inputs.slice(start, stop), cache)[:, -1:]
    # transformers takes the number of cached rows as the position, and a row more than the window
    shared = drafter.shared_layers(model, cache, more=1)
    logits = []
    for token in stored[f"fed_{rows}"].tolist():
        found, hidden = drafter(model, shared, mx.array([token]), hidden, rows)
        logits.append(found)
    assert_same(mx.concatenate(logits), expected)


@pytest.mark.parametrize("layout", ["one_row", "plain"])
@pytest.mark.parametrize("rows", ROWS)
def test_six_drafts_in_a_row_agree_with_mlx_vlm_where_it_starts_after_a_prompt(
    build: Callable[..., Gemma4], folder: Path, rows: int, layout: str
) -> None:
    """Its position and its rows are our own there (`tests/oracle/make_drafter_peer_case.py`)."""
    model, stored = build("official", layout), np.load(CASES / "drafter_peer.npz")
    drafter, expected = load_drafter(folder, model), from_planes(stored, f"logits_{rows}")
    cache = model.make_cache(slack=SLACK)
    hidden = model.hidden(model.embed(stored[f"ids_{rows}"].astype(int)), cache)[:, -1:]
    fed, logits = stored[f"fed_{rows}"].tolist(), []
    assert drafter.draft(model, cache, mx.array(fed[:1]), hidden, 5).tolist() == fed[1:]
    for token in fed:
        found, hidden = drafter(
            model, drafter.shared_layers(model, cache), mx.array([token]), hidden, rows - 1
        )
        logits.append(found)
    assert_same(mx.concatenate(logits), expected)


@pytest.mark.parametrize("rows", ROWS)
def test_drafts_read_what_the_last_row_saw(
    build: Callable[..., Gemma4], folder: Path, rows: int
) -> None:
    """Nothing that only a later or an earlier row sees changes a draft."""
    model = build("official")
    drafter, ids = load_drafter(folder, model), np.arange(rows + 4) % 900 + 20
    cache = model.make_cache(slack=SLACK)
    hidden = model.hidden(model.embed(ids[:rows]), cache)[:, -1:]
    drafts = drafter.draft(model, cache, mx.array([7]), hidden, 4).tolist()
    model.hidden(model.embed(ids[rows:]), cache)
    cache.rewind_to(rows)
    assert drafter.draft(model, cache, mx.array([7]), hidden, 4).tolist() == drafts
