import numpy as np
import pytest

from mlx_gemma4.chat.messages import ImagePart, Part, SoundPart, TextPart, Turn, VideoPart
from mlx_gemma4.chat.render import Prompt, render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.media.images import patches
from mlx_gemma4.session.rows import Row, between, common, rows_of
from mlx_gemma4.testing.doubles import tiny_config
from tests.conftest import CONTROLS
from tests.unit.small_tokenizer import small_backend

CONFIG = tiny_config()
TOKENIZER = Tokenizer(small_backend(CONTROLS))
NOISE = np.random.default_rng(0).integers(0, 256, (48, 96, 3)).astype(np.uint8)
CLIP = np.random.default_rng(0).random((5, 640), np.float32)


def image() -> ImagePart:
    return ImagePart(patches(NOISE, 70))


def rendered(*parts: Part) -> tuple[Prompt, list[Row]]:
    turns = [Turn("user", parts)]
    prompt = render(turns, TOKENIZER, CONFIG)
    return prompt, rows_of(prompt, turns, CONFIG)


def test_every_token_has_a_row_and_media_stand_in_place_of_their_placeholders() -> None:
    picture, film = image(), VideoPart(((0.0, patches(NOISE, 70)), (1.0, patches(NOISE, 70))))
    prompt, rows = rendered(picture, film, TextPart("what"), SoundPart(CLIP))
    assert len(rows) == len(prompt.token_ids)
    assert rows.count(picture) == prompt.token_ids.count(CONFIG.image_token_id)
    assert rows.count(film) == prompt.token_ids.count(CONFIG.video_token_id)
    frames = [row for row in rows if isinstance(row, bytes)]
    assert frames == list(SoundPart(CLIP).digests)


def test_a_picture_equals_itself_and_no_other_of_its_size() -> None:
    one, other = image(), image()
    first = rendered(one, TextPart("what"))[1]
    assert common(first, rendered(one, TextPart("what"))[1]) == len(first)
    start = first.index(one)
    assert common(first, rendered(other, TextPart("what"))[1]) == start


def test_a_clip_that_grew_is_equal_as_far_as_it_went() -> None:
    short, long = rendered(SoundPart(CLIP[:3]))[1], rendered(SoundPart(CLIP))[1]
    begin = short.index(SoundPart(CLIP).digests[0])
    assert common(short, long) == begin + 3


@pytest.mark.parametrize(
    ("left", "right", "count"), [("", "ab", 0), ("ab", "abc", 2), ("axc", "abc", 1)]
)
def test_common_counts_the_equal_beginning(left: str, right: str, count: int) -> None:
    assert common(left, right) == common(right, left) == count


def test_after_leaves_out_the_media_whose_rows_came_before() -> None:
    first, second = image(), image()
    prompt, rows = rendered(first, second, TextPart("what"), SoundPart(CLIP), SoundPart(CLIP[:2]))

    def left(start: int) -> tuple[int, int, list[int]]:
        rest = between(prompt, start, total, CONFIG)
        assert rest.token_ids == prompt.token_ids[start:]
        return len(rest.token_ids), len(rest.images), [len(clip) for clip in rest.audio]

    total = len(rows)
    assert left(0) == (total, 2, [5, 2])
    second_picture = rows.index(second)
    assert left(second_picture) == (total - second_picture, 1, [5, 2])
    inside_the_first_clip = rows.index(SoundPart(CLIP).digests[3])
    assert left(inside_the_first_clip) == (total - inside_the_first_clip, 0, [2, 2])
    inside_the_last_clip = total - 1 - rows[::-1].index(SoundPart(CLIP).digests[1])
    assert left(inside_the_last_clip) == (total - inside_the_last_clip, 0, [1])
    assert left(total - 1) == (1, 0, [])


def test_after_a_place_inside_a_clip_the_frames_from_there_are_left() -> None:
    prompt, rows = rendered(SoundPart(CLIP))
    rest = between(prompt, rows.index(SoundPart(CLIP).digests[3]), len(rows), CONFIG)
    assert np.array_equal(rest.audio[0], CLIP[3:])
