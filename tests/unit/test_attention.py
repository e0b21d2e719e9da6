"""What rows see, for any positions, blocks, windows and memory limits; the ways to compute it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.model import cpu_backend
from mlx_gemma4.model.attention import Dense, Piece, Quantized, attend_piece, pieces, visible

steps = st.fixed_dictionaries(
    {
        "offset": st.integers(0, 40),
        # lengths of text and picture runs, in turn
        "runs": st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(sum),
        "window": st.one_of(st.none(), st.integers(1, 12)),
        "rule": st.sampled_from(["official", "forward"]),
        "max_scores": st.integers(1, 400),
    }
)


def blocks_of(runs: list[int]) -> np.ndarray:
    """Every second run is a block of its own."""
    ids = [0 if n % 2 == 0 else n for n in range(len(runs))]
    return np.repeat(ids, runs).astype(np.int32)


def sees(q: int, k: int, blocks: np.ndarray, window: int | None, rule: str) -> bool:
    """The rule in words, for one query and one key."""
    in_window = window is None or q - k < window
    together = blocks[q] > 0 and blocks[q] == blocks[k]
    if rule == "forward":
        return bool(together or (k <= q and in_window))
    return bool((k <= q or (together and window is not None)) and in_window)


def expand(cut: tuple[Piece, ...], queries: int, keys: int) -> np.ndarray:
    """The mask that pieces represent, over the layer's view."""
    result = np.zeros((queries, keys), bool)
    for piece in cut:
        rows, columns = np.arange(queries)[piece.rows], np.arange(keys)[piece.keys]
        if piece.mask is None:
            mask = np.ones((len(rows), len(columns)), bool)
        elif isinstance(piece.mask, str):  # MLX aligns the last query with the last key
            mask = np.tri(len(rows), len(columns), len(columns) - len(rows), dtype=bool)
        else:
            mask = np.array(piece.mask)
        result[np.ix_(rows, columns)] = mask
    return result


@given(steps)
@settings(max_examples=300, deadline=None)
def test_pieces_are_the_rule_for_every_query_and_key(step: dict) -> None:
    offset, blocks = step["offset"], blocks_of(step["runs"])
    window, rule = step["window"], step["rule"]
    cut = pieces(offset, blocks, window, rule, step["max_scores"])
    first = 0 if window is None else max(0, offset - window + 1)
    stop = offset + len(blocks)
    of_all = np.concatenate([np.zeros(offset, np.int32), blocks])
    expected = [
        [sees(q, k, of_all, window, rule) for k in range(first, stop)] for q in range(offset, stop)
    ]
    assert (expand(cut, len(blocks), stop - first) == np.array(expected)).all()


@given(steps)
@settings(max_examples=100, deadline=None)
def test_pieces_of_text_stay_within_the_limit(step: dict) -> None:
    blocks = np.zeros(sum(step["runs"]), np.int32)
    cut = pieces(step["offset"], blocks, step["window"], step["rule"], step["max_scores"])
    for piece in cut:
        rows, keys = (part.stop - part.start for part in (piece.rows, piece.keys))
        assert rows == 1 or rows * keys <= step["max_scores"]


def test_one_token_needs_no_mask_and_full_layers_only_ever_the_word_causal() -> None:
    for window in (8, None):
        (piece,) = pieces(100, np.zeros(1, np.int32), window, "official", 10**9)
        assert piece.mask is None
    picture = np.array([0, 1, 1, 1, 0], np.int32)
    (piece,) = pieces(100, picture, None, "official", 10**9)
    assert piece.mask == "causal"


def test_a_block_longer_than_the_window_sees_ahead_of_it_but_not_behind() -> None:
    positions, blocks = np.arange(10), np.ones(10, np.int32)
    mask = visible(positions, positions, blocks, blocks, 3, "official")
    assert mask[5].nonzero()[0].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert visible(positions, positions, blocks, blocks, 3, "forward").all()


def random(*shape: int) -> mx.array:
    rng = np.random.default_rng(sum(shape))
    return mx.array(rng.standard_normal(shape, np.float32))


MASKS = {"none": None, "causal": "causal", "array": mx.array(np.eye(5, 9, 4, dtype=bool))}


@pytest.mark.parametrize("mask", MASKS)
def test_grouped_attention_is_mlx_attention(mask: str) -> None:
    queries, keys, values = random(1, 6, 5, 32), random(1, 2, 9, 32), random(1, 2, 9, 32)
    cached = Dense(keys, values)
    expected = attend_piece(queries, cached, MASKS[mask])
    assert mx.allclose(cpu_backend.attend_piece(queries, cached, MASKS[mask]), expected, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bits", [8, 4])
def test_attention_over_quantized_rows_is_attention_over_the_same_rows_dequantized(
    mask: str, bits: int
) -> None:
    queries, rows = random(1, 6, 5, 64), random(1, 2, 9, 96)
    packed = mx.quantize(rows, group_size=32, bits=bits)
    rounded = mx.dequantize(*packed, group_size=32, bits=bits)
    dense = Dense(rounded[..., :64], rounded[..., -64:])
    expected = attend_piece(queries, dense, MASKS[mask])
    quantized = Quantized(packed, 32, bits, width=96, head_dim=64)
    assert mx.allclose(attend_piece(queries, quantized, MASKS[mask]), expected, atol=1e-4)
