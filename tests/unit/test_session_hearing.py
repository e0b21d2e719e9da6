"""Where sound is heard, and what becomes of it: direct, relay, held, cut, moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4 import load
from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, Turn
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Heard, Moved, Token
from mlx_gemma4.generation.prefill_decode import Steps, finish
from mlx_gemma4.hub import catalog
from mlx_gemma4.media.audio import frames, open_sound
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import transcriber
from mlx_gemma4.session.pending_turn import REACH, cut
from mlx_gemma4.session.session import Session

DEMO = Path(__file__).parents[2] / "assets" / "demo"
NOISE = np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8)
VOICE = (np.random.default_rng(2).standard_normal((400, 640)) * 0.1).astype(np.float32)
SAFE = 130


@pytest.fixture
def unsafe(model: Gemma4, monkeypatch: pytest.MonkeyPatch) -> Gemma4:
    """A model that should not hear past position 130."""
    known = next(iter(catalog.packages().values()))
    package = replace(known, audio_safe_position=SAFE, transcribe="write")
    monkeypatch.setattr(model, "package", package)
    return model


@pytest.fixture(scope="module")
def tiny() -> Gemma4:
    return load("tiny")


def events_of(session: Session, tokens: int = 6, heard: bool = False) -> list[Event]:
    return list(session.reply(tokens, temperature=0, heard=heard))


def heard_in(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Heard)]


def answer_in(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def speak(session: Session, name: str) -> None:
    clip = frames(open_sound(DEMO / f"{name}.wav"))
    for start in range(0, len(clip), 10):
        session.hear(clip[start : start + 10])


@pytest.mark.parametrize(
    ("name", "said"),
    [("command", "turn on the heater in the office"), ("digits", "40715")],
)
def test_the_relay_writes_down_what_is_spoken_and_answers_the_text(
    tiny: Gemma4, name: str, said: str
) -> None:
    session = Session(tiny, hearing="relay")
    speak(session, name)
    assert heard_in(events_of(session)) == [said]
    assert session.turns[0].parts == (TextPart(said),)


def test_a_picture_and_a_question_through_the_relay_are_answered_right(tiny: Gemma4) -> None:
    session = Session(tiny, hearing="relay")
    session.add_image(DEMO / "receipt.png")
    speak(session, "question")
    events = events_of(session)
    assert heard_in(events) == ["what is the total"]
    assert answer_in(events) == "19.56"


def test_in_direct_a_transcript_is_given_where_it_is_asked_for_and_leaves_no_trace(
    tiny: Gemma4,
) -> None:
    asked, plain = Session(tiny, hearing="direct"), Session(tiny, hearing="direct")
    speak(asked, "command")
    speak(plain, "command")
    with_line, without = events_of(asked, 40, heard=True), events_of(plain, 40)
    assert heard_in(with_line) == ["turn on the heater in the office"]
    assert heard_in(without) == []
    assert answer_in(with_line) == answer_in(without)
    assert isinstance(asked.turns[0].parts[0], SoundPart)
    done, other = with_line[-1], without[-1]
    assert isinstance(done, Done) and isinstance(other, Done)
    assert done.stats["new_prompt_tokens"] == other.stats["new_prompt_tokens"]


def test_beside_a_picture_the_question_is_written_down_after_the_answer(tiny: Gemma4) -> None:
    session = Session(tiny, hearing="direct")
    session.add_image(DEMO / "receipt.png")
    speak(session, "question")
    events = events_of(session, heard=True)
    assert answer_in(events) == "19.56"
    assert events[-2:-1] == [Heard("what is the total")]


def test_auto_hears_directly_while_the_sound_ends_before_the_safe_position(unsafe: Gemma4) -> None:
    session = Session(unsafe)
    session.add_text("listen")
    start = session._conversation.prompt().prompt.token_ids.index(
        5
    )  # the end of the turn: sound goes before it
    session.hear(VOICE[: SAFE - start - 1])  # one row for what opens the sound
    assert session.notices() == []
    assert session.context[0] == SAFE
    session.hear(VOICE[:1])
    assert session.notices() == [Moved("sound", "relay", SAFE - start)]
    assert session.context[0] == start


def test_auto_without_a_safe_position_never_moves_a_sound(model: Gemma4) -> None:
    session = Session(model)
    session.hear(VOICE)
    assert session.notices() == []
    assert heard_in(events_of(session)) == []


def test_a_sound_may_be_a_file_and_what_it_lacks_is_noted(model: Gemma4) -> None:
    whole = (DEMO / "digits.wav").read_bytes()
    session = Session(model)
    assert session.add_audio(DEMO / "digits.wav") == ()
    (note,) = session.add_audio(whole[:-2000])
    assert "2,000 bytes are missing at its end" in note
    clip, cut_off = session._conversation.pending.parts
    assert isinstance(clip, SoundPart) and isinstance(cut_off, SoundPart)
    assert np.array_equal(clip.frames, frames(open_sound(whole)))
    assert 0 < len(cut_off.frames) < len(clip.frames)


def test_a_sound_that_was_relayed_once_is_text_only_where_it_is_relayed(unsafe: Gemma4) -> None:
    asked = Turn("user", (SoundPart(VOICE[:20]),))
    relay = Session(unsafe, hearing="relay", turns=[asked])
    events_of(relay)
    drawn = relay._conversation._drawn
    assert drawn.heard and relay.turns[0].parts != asked.parts
    for hearing in ("direct", "auto"):
        session = Session(unsafe, turns=[asked], hearing=hearing, drawn=drawn)
        assert isinstance(session.turns[0].parts[0], SoundPart)
        assert heard_in(events_of(session)) == []
    before = [Turn("user", (TextPart("one two " * SAFE),)), Turn("model", (TextPart("yes"),))]
    late = Session(unsafe, turns=[asked, *before, asked], drawn=drawn)
    assert isinstance(late.turns[0].parts[0], SoundPart)
    assert isinstance(late.turns[-1].parts[0], TextPart)
    mark = late.mark()
    late.open(before[:1])
    late.rewind(mark)
    assert len(heard_in(events_of(late))) == 1
    late.open(before[:1])
    mark = late.mark()
    late.open([asked, *before, asked])
    late.rewind(mark)
    assert heard_in(events_of(late)) == []


def test_a_sound_file_goes_to_the_relay_too_where_it_ends_too_late(unsafe: Gemma4) -> None:
    session = Session(unsafe)
    session.add_audio(VOICE[:150].ravel(), 16_000)
    events = events_of(session)
    assert [event.where for event in events if isinstance(event, Moved)] == ["relay"]
    assert len(heard_in(events)) == 1
    assert all(isinstance(part, TextPart) for part in session.turns[0].parts)


def test_the_relay_cuts_clips_so_that_they_end_before_the_safe_position(
    unsafe: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(unsafe, hearing="relay")
    written: list[int] = []
    transcriber = session._conversation.transcriber
    transcribe = transcriber.transcribe

    def noted(clip: SoundPart) -> Steps[str]:
        written.append(len(clip.frames))
        text = yield from transcribe(clip)
        assert len(transcriber.cache) < SAFE
        return text

    monkeypatch.setattr(transcriber, "transcribe", noted)
    for start in range(0, 300, 20):
        session.hear(VOICE[start : start + 20])
        assert len(transcriber.cache) <= SAFE
    events_of(session)
    assert sum(written) == 300
    assert max(written) <= transcriber.limit < SAFE


def test_a_clip_past_the_limit_goes_on_as_a_further_one_cut_at_a_pause(model: Gemma4) -> None:
    session = Session(model, hearing="direct")
    clip = np.concatenate([VOICE, VOICE[::-1]])
    clip[700:710] = 0
    for start in range(0, len(clip), 50):
        session.hear(clip[start : start + 50])
    events_of(session)
    clips = [part.frames for part in session.turns[0].parts if isinstance(part, SoundPart)]
    assert [len(one) for one in clips] == [707, 93]  # the last silent 200 ms, in their middle
    assert np.array_equal(np.concatenate(clips), clip)


@pytest.mark.parametrize("length", [1, 30, 31, 61, 400])
@pytest.mark.parametrize("limit", [1, 2, 7, 30])
def test_cutting_loses_no_frame_and_makes_no_clip_too_long(length: int, limit: int) -> None:
    clips = cut(VOICE[:length], limit)
    assert np.array_equal(np.concatenate(clips), VOICE[:length])
    assert all(0 < len(clip) <= limit for clip in clips)


def test_the_pause_lies_so_near_the_end_that_going_back_is_free(model: Gemma4) -> None:
    slack = next(layer for layer in model.make_cache().layers if hasattr(layer, "slack")).slack
    clip = VOICE[np.arange(760) % 400].copy()
    clip[:600] = 0
    assert 750 - REACH <= len(cut(clip, 750)[0]) <= 750
    assert REACH + 64 < slack


def test_held_frames_are_fed_in_one_go_by_the_next_frames_or_the_reply(model: Gemma4) -> None:
    session = Session(model, hearing="direct")
    session.hear(VOICE[:5])
    rows = session.context[0]
    session.hold(VOICE[5:15])
    session.hold(VOICE[15:20])
    assert session.context[0] == rows
    assert session.heard_seconds == 20 * 0.04
    session.hear(VOICE[20:22])
    assert session.context[0] == rows + 17
    session.hold(VOICE[22:40])
    events_of(session)
    (heard,) = session.turns[0].parts
    assert isinstance(heard, SoundPart) and np.array_equal(heard.frames, VOICE[:40])
    assert session.heard_seconds == 0


def test_frames_that_were_only_held_are_answered(model: Gemma4) -> None:
    session = Session(model)
    session.hold(VOICE[:20])
    assert isinstance(events_of(session)[-1], Done)
    (heard,) = session.turns[0].parts
    assert isinstance(heard, SoundPart) and np.array_equal(heard.frames, VOICE[:20])


def test_a_picture_during_speech_goes_before_it_where_hearing_it_again_is_cheap(
    model: Gemma4,
) -> None:
    session = Session(model, image_tokens=70, hearing="direct")
    session.hear(VOICE[:40])
    session.add_image(NOISE)
    (moved,) = session.notices()
    assert isinstance(moved, Moved)
    assert (moved.what, moved.where) == ("picture", "before the sound")
    assert 40 <= moved.rows < 50
    events_of(session)
    assert [type(part) for part in session.turns[0].parts] == [ImagePart, SoundPart]


def test_a_picture_during_speech_waits_for_the_next_turn_where_that_would_take_too_long(
    model: Gemma4,
) -> None:
    session = Session(model, image_tokens=70, hearing="direct")
    session.hear(VOICE[:100])
    session._conversation.cache.rows_per_second = 10
    session.add_image(NOISE)
    first = events_of(session)
    assert first[0] == Moved("picture", "next turn", 0)
    assert [type(part) for part in session.turns[0].parts] == [SoundPart]
    session.add_text("and this?")
    events_of(session)
    assert [type(part) for part in session.turns[2].parts] == [ImagePart, TextPart]


def test_in_the_relay_a_picture_moves_nothing(model: Gemma4) -> None:
    session = Session(model, image_tokens=70, hearing="relay")
    session.hear(VOICE[:40])
    session.add_image(NOISE)
    assert session.notices() == []


def test_discarding_forgets_the_sound_and_costs_nothing(model: Gemma4) -> None:
    session = Session(model, hearing="direct")
    session.add_text("one")
    events_of(session)
    while session.idle():
        pass
    before = session.context
    session.hear(VOICE)  # far more than the slack
    session.discard()
    assert session.context == before
    assert not session.idle()
    with pytest.raises(Gemma4Error, match="nothing to answer"):
        session.reply()


def test_what_idle_read_ahead_is_not_read_by_the_reply(model: Gemma4) -> None:
    session = Session(model, "be brief", image_tokens=70)
    session.add_image(NOISE)
    session.add_text("what is it?")
    while session.idle():
        pass
    done = events_of(session)[-1]
    assert isinstance(done, Done)
    assert done.stats["new_prompt_tokens"] < 10 < done.stats["prompt_tokens"] - 60


def test_a_cancelled_transcript_leaves_the_question_open(model: Gemma4) -> None:
    session = Session(model, hearing="relay")
    session.hear(VOICE[:30])
    answers = iter([False] * 3 + [True] * 100)
    (done,) = session.reply(cancelled=lambda: next(answers))
    assert isinstance(done, Done) and done.reason == "cancelled"
    assert session.turns == () and session.heard_seconds > 0
    assert len(heard_in(events_of(session))) == 1


@pytest.mark.parametrize("barge", [False, True])
def test_silence_in_the_relay_is_no_question(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, barge: bool
) -> None:
    session = Session(model, hearing="relay")

    def nothing(_: SoundPart) -> Steps[str]:
        yield 1, 1
        return ""

    monkeypatch.setattr(session._conversation.transcriber, "transcribe", nothing)
    session.hear(VOICE[:30])
    reply = session.reply()
    assert next(reply) == Heard("", relayed=True)
    if barge:
        reply.close()
    else:
        assert list(reply) == [Done("silence")]
    assert session.turns == () and session.heard_seconds == 0
    session.hear(VOICE[:5])
    session.add_text("and now?")
    assert isinstance(events_of(session)[-1], Done)
    assert session.turns[0].parts == (TextPart("and now?"),)


def test_the_side_context_gives_its_memory_back_after_the_reply(model: Gemma4) -> None:
    session = Session(model, hearing="relay")
    relay = session._conversation.transcriber
    finish(relay.prepare())
    held = [relay.cache.nbytes]
    for _ in range(2):
        session.hear(VOICE)
        assert relay.cache.nbytes > held[-1]
        events_of(session)
        held.append(relay.cache.nbytes)
    # the first time the free room of its first buffers goes too
    assert held[0] >= held[1] == held[2]


def test_unknown_settings_are_refused_by_name(model: Gemma4) -> None:
    with pytest.raises(Gemma4Error, match="hearing"):
        Session(model, hearing="loud")  # type: ignore[arg-type]
    with pytest.raises(Gemma4Error, match="when_full"):
        Session(model, when_full="grow")  # type: ignore[arg-type]


def test_a_model_that_cannot_hear_has_no_work_in_the_relay(model: Gemma4) -> None:
    deaf = Session(model, hearing="relay")
    deaf._conversation._model = Gemma4(replace(model.config, audio_config=None))
    assert not deaf._conversation._may_relay
    assert transcriber.CLIP == 750


def test_sound_stays_as_it_was_when_it_was_added_here_and_in_other_sessions(model: Gemma4) -> None:
    buffer, same = VOICE[:10].copy(), VOICE[:10].copy()
    one, other = Session(model, hearing="direct"), Session(model, hearing="direct")
    one.add_frames(buffer)
    buffer[:] = 0
    other.add_frames(same)
    for session in (one, other):
        events_of(session, 1)
        (sound,) = session.turns[0].parts
        assert isinstance(sound, SoundPart) and np.array_equal(sound.frames, VOICE[:10])
