from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_gemma4.chat.messages import ImagePart, Part, SoundPart, TextPart, Turn, VideoPart
from mlx_gemma4.chat.render import render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.media.images import patches
from mlx_gemma4.session.rows import PromptRows, Row, common, with_rows
from mlx_gemma4.testing.doubles import tiny_config
from tests.conftest import CONTROLS
from tests.unit.small_tokenizer import small_backend

CONFIG = tiny_config()
TOKENIZER = Tokenizer(small_backend(CONTROLS))
NOISE = np.random.default_rng(0).integers(0, 256, (48, 96, 3)).astype(np.uint8)
CLIP = np.random.default_rng(0).random((5, 640), np.float32)


def image(pixels: np.ndarray = NOISE) -> ImagePart:
    return ImagePart(patches(pixels, 70))


def rendered(*parts: Part) -> PromptRows:
    turns = [Turn("user", parts)]
    return with_rows(render(turns, TOKENIZER, CONFIG), turns, CONFIG)


def test_every_token_has_a_row_and_media_are_in_place_of_their_placeholders() -> None:
    picture = image()
    film = VideoPart(((0.0, image(NOISE[::-1]).picture), (1.0, image(NOISE[:, ::-1]).picture)))
    new = rendered(picture, film, TextPart("what"), SoundPart(CLIP))
    ids = new.prompt.token_ids
    assert len(new) == len(new.rows) == len(ids)
    assert new.rows.count(picture.picture.digest) == ids.count(CONFIG.image_token_id)
    seen = [new.rows.count(one.digest) for _, one in film.frames]
    assert sum(seen) == ids.count(CONFIG.video_token_id)
    assert seen == [len(one.patches) for _, one in film.frames]
    frames = [row for row in new.rows if isinstance(row, bytes)]
    assert frames == list(SoundPart(CLIP).digests)


def test_a_picture_is_equal_to_one_of_the_same_pixels_and_to_no_other_of_its_size() -> None:
    one, same, other = image(), image(NOISE.copy()), image(NOISE[::-1])
    first = rendered(one, TextPart("what")).rows
    assert common(first, rendered(same, TextPart("what")).rows) == len(first)
    start = first.index(one.picture.digest)
    assert common(first, rendered(other, TextPart("what")).rows) == start


def test_the_same_patches_in_another_order_are_another_picture() -> None:
    one = image().picture
    assert one.digest != replace(one, positions=one.positions[::-1]).digest


def test_a_clip_that_grew_is_equal_as_far_as_it_went() -> None:
    short, long = rendered(SoundPart(CLIP[:3])).rows, rendered(SoundPart(CLIP)).rows
    begin = short.index(SoundPart(CLIP).digests[0])
    assert common(short, long) == begin + 3


@pytest.mark.parametrize(
    ("left", "right", "count"),
    [([], [1, 2], 0), ([1, 2], [1, 2, 3], 2), ([1, 9, 3], [1, 2, 3], 1), ([9], [1], 0)],
)
def test_common_counts_the_equal_beginning(left: list[Row], right: list[Row], count: int) -> None:
    assert common(left, right) == common(right, left) == count


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_counts_as_one_by_one(left: list[Row], right: list[Row]) -> None:
    count = 0
    while count < min(len(left), len(right)) and left[count] == right[count]:
        count += 1
    assert common(left, right) == count


def test_after_leaves_out_the_media_whose_rows_came_before() -> None:
    first, second = image(), image(NOISE[::-1])
    new = rendered(first, second, TextPart("what"), SoundPart(CLIP), SoundPart(CLIP[:2]))
    rows, total = new.rows, len(new)

    def left(start: int) -> tuple[int, int, list[int]]:
        rest = new.between(start, total)
        assert rest.token_ids == new.prompt.token_ids[start:]
        return len(rest.token_ids), len(rest.images), [len(clip) for clip in rest.audio]

    assert left(0) == (total, 2, [5, 2])
    second_picture = rows.index(second.picture.digest)
    assert left(second_picture) == (total - second_picture, 1, [5, 2])
    inside_the_first_clip = rows.index(SoundPart(CLIP).digests[3])
    assert left(inside_the_first_clip) == (total - inside_the_first_clip, 0, [2, 2])
    inside_the_last_clip = total - 1 - rows[::-1].index(SoundPart(CLIP).digests[1])
    assert left(inside_the_last_clip) == (total - inside_the_last_clip, 0, [1])
    assert left(total - 1) == (1, 0, [])


def test_after_a_place_inside_a_clip_the_frames_from_there_are_left() -> None:
    new = rendered(SoundPart(CLIP))
    rest = new.between(new.rows.index(SoundPart(CLIP).digests[3]), len(new))
    assert np.array_equal(rest.audio[0], CLIP[3:])


@pytest.mark.parametrize("most", [1, 3, 8, 50])
def test_a_segment_never_ends_inside_a_picture(most: int) -> None:
    new = rendered(image(), TextPart("what"), SoundPart(CLIP))
    at, ends = 0, []
    while at < len(new):
        stop = new.segment(at, len(new), most)
        assert at < stop <= len(new)
        ends.append(stop)
        at = stop
    picture = [n for n, row in enumerate(new.rows) if isinstance(row, str)]
    assert not set(ends) & set(picture[1:])
