"""Prompts are cut only between blocks; wrong inputs are named, not computed."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlx_gemma4
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.testing.doubles import tiny_model

IMAGE, AUDIO, VIDEO = 8, 11, 12
PATCHES, POSITIONS = np.full((3, 6912), 0.5, np.float32), np.array([[0, 0], [1, 0], [2, 0]])
FRAMES = np.zeros((2, 640), np.float32)


@pytest.fixture(scope="module")
def model() -> Gemma4:
    return tiny_model()


def inputs_of(blocks: list[int]) -> Inputs:
    return Inputs(mx.zeros((1, len(blocks), 4)), np.array(blocks, np.int32))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum), st.integers(1, 12))
def test_cuts_cover_all_tokens_and_never_cut_a_block(runs: list[int], chunk: int) -> None:
    inputs = inputs_of(np.repeat(np.arange(len(runs)), runs).tolist())
    cuts = inputs.cuts(chunk)
    assert [t for start, stop in cuts for t in range(start, stop)] == list(range(len(inputs)))
    for start, stop in cuts:
        part = inputs.slice(start, stop)
        assert len(part) <= chunk or len(set(part.blocks.tolist())) == 1


def test_a_slice_through_a_block_is_refused() -> None:
    inputs = inputs_of([0, 1, 1, 2, 2, 0])
    assert inputs.slice(1, 3).blocks.tolist() == [1, 1]
    with pytest.raises(Gemma4Error, match="Token 4 is inside"):
        inputs.slice(0, 4)


def test_each_picture_and_frame_is_a_block_even_side_by_side(model: Gemma4) -> None:
    ids = [2, *[IMAGE] * 6, 30, *[VIDEO] * 3, *[AUDIO] * 2]
    picture = (PATCHES, POSITIONS)
    inputs = model.embed(ids, images=[picture, picture], videos=[picture], audio=[FRAMES])
    assert inputs.blocks.tolist() == [0, 1, 1, 1, 2, 2, 2, 0, 3, 3, 3, 0, 0]


def test_placeholders_may_lie_outside_the_vocabulary(model: Gemma4) -> None:
    from dataclasses import replace

    outside = tiny_model()
    outside.config = replace(model.config, image_token_id=99999)
    given = outside.embed([2, 99999, 99999, 99999], images=[(PATCHES, POSITIONS)])
    expected = model.embed([2, IMAGE, IMAGE, IMAGE], images=[(PATCHES, POSITIONS)])
    assert mx.array_equal(given.embeddings, expected.embeddings)


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[-1, -1] = np.nan
    return array


HOSTILE = {
    "no ids": ({"token_ids": []}, "shape (0,)"),
    "a batch of ids": ({"token_ids": [[2, 3]]}, "shape (1, 2)"),
    "ids that are no integers": ({"token_ids": [2.0, 3.5]}, "float64"),
    "an id after the vocabulary": ({"token_ids": [2, 512]}, "from 2 to 512"),
    "an id before it": ({"token_ids": [-1, 2]}, "from -1 to 2"),
    "a picture without its places": (
        {"token_ids": [2, 3], "images": [(PATCHES, POSITIONS)]},
        "0 placeholders for pictures",
    ),
    "places without their picture": ({"token_ids": [2, IMAGE]}, "1 placeholders for pictures"),
    "places of a video for a picture": (
        {"token_ids": [2, *[VIDEO] * 3], "images": [(PATCHES, POSITIONS)]},
        "0 placeholders for pictures",
    ),
    "places in two runs": (
        {"token_ids": [IMAGE, IMAGE, 2, IMAGE], "images": [(PATCHES, POSITIONS)]},
        "3 placeholders of picture 1 are not in one run",
    ),
    "patches of another width": (
        {"token_ids": [IMAGE] * 3, "images": [(PATCHES[:, :768], POSITIONS)]},
        "patches have shape (3, 768)",
    ),
    "a picture of no patches": (
        {"token_ids": [2], "images": [(PATCHES[:0], POSITIONS[:0])]},
        "patches have shape (0, 6912)",
    ),
    "positions of another count": (
        {"token_ids": [IMAGE] * 3, "images": [(PATCHES, POSITIONS[:2])]},
        "positions of shape (2, 2)",
    ),
    "positions that are no integers": (
        {"token_ids": [IMAGE] * 3, "images": [(PATCHES, POSITIONS * 0.5)]},
        "float64",
    ),
    "positions after the table": (
        {"token_ids": [IMAGE] * 3, "images": [(PATCHES, POSITIONS + 126)]},
        "from 126 to 128, and the table has 128",
    ),
    "padding positions": (
        {"token_ids": [IMAGE] * 3, "images": [(PATCHES, POSITIONS - 1)]},
        "from -1 to 1",
    ),
    "patches with NaN": (
        {"token_ids": [IMAGE] * 3, "images": [(with_nan(PATCHES), POSITIONS)]},
        "patches are NaN",
    ),
    "frames with infinity": (
        {"token_ids": [AUDIO] * 2, "audio": [FRAMES + np.inf]},
        "frames are NaN or infinite",
    ),
    "frames of another width": (
        {"token_ids": [AUDIO] * 2, "audio": [FRAMES[:, :320]]},
        "frames have shape (2, 320)",
    ),
    "more frames than places": ({"token_ids": [AUDIO], "audio": [FRAMES]}, "take 2"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_inputs_are_named(model: Gemma4, case: str) -> None:
    arguments, words = HOSTILE[case]
    with pytest.raises(Gemma4Error) as caught:
        model.forward(**arguments)
    assert words in caught.value.cause
    assert caught.value.remedy


def test_a_full_context_is_an_error_and_leaves_the_cache_as_it_was(model: Gemma4) -> None:
    cache = model.make_cache()
    model.forward(np.full(20, 30), cache=cache)
    cache.offset = 4090  # of 4096 positions
    with pytest.raises(Gemma4Error, match="4090 tokens, 7 more"):
        model.forward(np.full(7, 30), cache=cache)
    assert cache.offset == 4090


def test_unknown_settings_are_refused(folder: Path) -> None:
    with pytest.raises(Gemma4Error, match="The setting layout is not known"):
        tiny_model(layout="two_rows")
    with pytest.raises(Gemma4Error, match="mask_rule is not known"):
        mlx_gemma4.load(folder, mask_rule="both")
