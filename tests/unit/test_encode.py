import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.checkpoint.encode import encode
from mlx_gemma4.checkpoint.recipes import RECIPES, Storage, named, uniform
from mlx_gemma4.errors import Gemma4Error


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Weights over many magnitudes, with zeros, ties and denormal numbers among them."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((96, 256)) * np.exp2(rng.uniform(-14, 6, (96, 1)))
    rows[0, :64] = 0
    rows[1] = np.round(rows[1] * 4) / 4
    rows[2] = np.tile(np.arange(-32, 32) / 8 * 1.5, 4)
    rows[3] *= 1e-30
    return rows.astype(np.float32)


def grid(seed: int) -> mx.array:
    """What training for q4_0 leaves: d (q - 8) in groups of 32, rounded to bf16."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((64, 8, 1)) * 0.02
    codes = rng.integers(0, 16, (64, 8, 32))
    codes[..., 7] = 0  # the extremum of a group is what its step was made of
    return mx.array((steps * (codes - 8)).reshape(64, 256).astype(np.float32)).astype(mx.bfloat16)


def lost(rows: mx.array, storage: Storage, is_grid: bool) -> float:
    """The root mean square error, in shares of the weights' own."""
    back = mx.dequantize(
        *encode(rows, storage, is_grid), group_size=storage.group_size, bits=storage.bits
    )
    error = back.astype(mx.float32) - rows.astype(mx.float32)
    return (mx.linalg.norm(error) / mx.linalg.norm(rows.astype(mx.float32))).item()


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4", "mxfp8", "affine"])
def test_codes_and_scales_are_those_of_mlx_bit_for_bit(
    rows: np.ndarray, mode: str, dtype: mx.Dtype
) -> None:
    storage = uniform(None, None, mode).matrices
    weight = mx.array(rows).astype(dtype)
    expected = mx.quantize(weight, storage.group_size, storage.bits, mode=mode)
    made = encode(weight, storage, grid=False)
    assert len(made) == len(expected)
    for ours, theirs in zip(made, expected, strict=True):
        assert ours.dtype == theirs.dtype and mx.array_equal(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_weights_that_were_trained_for_q4_0_are_met_to_the_precision_of_bf16(bits: int) -> None:
    assert lost(grid(bits), Storage(32, bits), True) < 0.005


def test_smallest_and_largest_weight_miss_that_grid() -> None:
    assert lost(grid(0), Storage(64, 4), False) > 0.05
    assert lost(grid(0), Storage(32, 4), False) > 0.02


def test_weights_off_the_grid_lose_little_more_on_it_at_6_bits(rows: np.ndarray) -> None:
    weight = mx.array(rows)
    assert lost(weight, Storage(32, 6), True) < 1.2 * lost(weight, Storage(32, 6), False)


def test_a_group_of_zeros_stays_zero_on_the_grid() -> None:
    assert lost(mx.concatenate([mx.zeros((1, 256)), mx.ones((1, 256))]), Storage(32, 4), True) == 0


def test_every_recipe_is_something_that_mlx_can_store() -> None:
    for recipe in RECIPES.values():
        for storage in (recipe.matrices, recipe.embedding, recipe.full_keys):
            if storage is not None:
                assert uniform(storage.bits, storage.group_size, storage.mode).matrices == storage


def test_what_mlx_cannot_store_is_refused_with_what_it_can() -> None:
    with pytest.raises(Gemma4Error, match="7 bits") as caught:
        uniform(7, 64)
    assert "2, 3, 4, 5, 6 or 8 bits" in caught.value.remedy
    with pytest.raises(Gemma4Error, match="groups of 64"):
        uniform(4, 64, "mxfp4")
    with pytest.raises(Gemma4Error, match="no recipe 3bit") as caught:
        named("3bit")
    assert "qat-4bit" in caught.value.remedy
