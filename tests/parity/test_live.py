"""Sound that is heard in pieces while it is spoken, against transformers' numbers for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.chat.messages import ImagePart, SoundPart, Turn
from mlx_gemma4.chat.render import Prompt
from mlx_gemma4.generation.prefill_decode import finish
from mlx_gemma4.media.images import Picture
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.prefix_cache import PrefixCache
from mlx_gemma4.session.rows import PromptRows, with_rows
from tests.parity.conftest import Case, assert_same, read_case

Build = Callable[..., Gemma4]
HEARD = ["audio", "audio2_padded", "image_audio"]


def prompt_of(case: Case) -> tuple[Prompt, list[Turn]]:
    """A case as a session feeds it: ids with media, and turns that hold the same media."""
    pictures = [ImagePart(Picture(*pair, (0, 0), (0, 0))) for pair in case.images]
    sounds = [SoundPart(clip) for clip in case.audio]
    prompt = Prompt(case.ids.tolist(), case.images, [], case.audio)
    return prompt, [Turn("user", (*pictures, *sounds))]


def rows_of(model: Gemma4, prompt: Prompt, turns: list[Turn]) -> PromptRows:
    return with_rows(prompt, turns, model.config)


def places_of_sound(model: Gemma4, case: Case) -> np.ndarray:
    return np.flatnonzero(case.ids == model.config.audio_token_id)


def assert_ends_as_the_case(line: PrefixCache, case: Case) -> None:
    fed = finish(line.feed(rows_of(line.model, *prompt_of(case))))
    assert fed is not None
    assert_same(line.model.logits(fed[0])[0], case.logits["official"][-1:])


@pytest.mark.parametrize("name", HEARD)
@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 13), min_size=3, max_size=30), back=st.integers(0, 9))
def test_pieces_of_any_size_with_rewinds_between_agree(
    build: Build, name: str, sizes: list[int], back: int
) -> None:
    model, case = build("official"), read_case(name)
    prompt, turns = prompt_of(case)
    line = PrefixCache(model)
    sound = places_of_sound(model, case)
    stop = int(sound[0])
    finish(line.prepare(rows_of(model, replace(prompt, token_ids=prompt.token_ids[:stop]), turns)))
    mark = line.mark()
    for number, size in enumerate(sizes):
        if number == back:
            line.rewind(mark)
            stop = int(sound[0])
        stop = min(stop + size, int(sound[-1]) + 1)
        finish(
            line.prepare(rows_of(model, replace(prompt, token_ids=prompt.token_ids[:stop]), turns))
        )
        assert len(line) == stop
    assert_ends_as_the_case(line, case)


@pytest.mark.parametrize("name", ["audio", "image_audio"])
def test_another_clip_heard_before_from_the_same_mark_changes_nothing(
    build: Build, name: str
) -> None:
    """What the transcriber does: an instruction once, then clip after clip from there."""
    model, case = build("official"), read_case(name)
    prompt, turns = prompt_of(case)
    line = PrefixCache(model)
    start = int(places_of_sound(model, case)[0])
    finish(line.prepare(rows_of(model, replace(prompt, token_ids=prompt.token_ids[:start]), turns)))
    mark = line.mark()
    noise = [-clip for clip in case.audio]
    other = replace(prompt, audio=noise)
    heard = [replace(turns[0], parts=(*turns[0].parts[:-1], SoundPart(noise[-1])))]
    finish(line.feed(rows_of(model, other, heard)))
    line.rewind(mark)
    assert len(line) == start
    assert_ends_as_the_case(line, case)


def test_a_picture_that_comes_during_the_sound_is_as_one_before_it(build: Build) -> None:
    model, case = build("official"), read_case("image_audio")
    prompt, turns = prompt_of(case)
    start, first = int(places_of_sound(model, case)[0]), case.ids.tolist()
    begin = first.index(model.config.boi_token_id)
    end = first.index(model.config.eoi_token_id) + 1
    without = Prompt([*first[:begin], *first[end : start + 11]], [], [], case.audio)
    line = PrefixCache(model)
    finish(line.prepare(rows_of(line.model, without, [Turn("user", (turns[0].parts[-1],))])))
    assert len(line) == len(without.token_ids)
    assert_ends_as_the_case(line, case)
