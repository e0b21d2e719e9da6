import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlx_gemma4.chat.messages import TextPart, Turn
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.events import Done, Event, Thought, Token
from mlx_gemma4.generation.prefill_decode import finish
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import prefix_cache
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones

NOISE = np.random.default_rng(1).integers(0, 256, (2, 96, 144, 3)).astype(np.uint8)
PICTURES = [Image.fromarray(noise) for noise in NOISE]
CLIP = frames(tones([440, 900], 0.5))


@pytest.fixture
def session(model: Gemma4) -> Session:
    return Session(model, image_tokens=70)


def ask(session: Session, text: str = "what", tokens: int = 8) -> Done:
    session.add_text(text)
    return finished(session, tokens)


def finished(session: Session, tokens: int = 8) -> Done:
    *_, done = session.reply(max_tokens=tokens, temperature=0)
    assert isinstance(done, Done)
    return done


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def assert_cache_is_as_a_fresh_one(session: Session) -> None:
    """Feed the conversation as it is now, and compare with one forward of all of it."""
    prompt = session._conversation.prompt()
    fed = finish(session._conversation.cache.feed(prompt))
    assert fed is not None
    logits, prompt = session._model.logits(fed[0])[:, -1], prompt.prompt
    media = (prompt.images, prompt.videos, prompt.audio)
    fresh = session._model.forward(prompt.token_ids, *media)[:, -1]
    assert np.abs(np.array(logits - fresh)).max() < 2e-3


def script(monkeypatch: pytest.MonkeyPatch, model: Gemma4, reply: str) -> None:
    """Make every reply this text, with control tokens spelled in it."""
    ids = Tokenizer.from_folder(model.folder).encode(reply, special=True)

    def decode(model: Gemma4, _: Any, cache: Any, *rest: Any) -> Generator[int]:
        model.hidden(model.embed(ids), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", decode)


def test_a_reply_is_one_turn_of_tokens_and_one_done(session: Session) -> None:
    session.add_text("hello")
    *events, done = session.reply(max_tokens=5, temperature=1, seed=1)
    assert isinstance(done, Done)
    assert session.turns[0] == Turn("user", (TextPart("hello"),))
    assert session.turns[1] == Turn("model", (TextPart(said(events)),))
    assert done.stats["reply_tokens"] == 5
    assert done.reason == "length"


def test_the_same_seed_gives_the_same_reply_and_another_seed_another(model: Gemma4) -> None:
    def reply(seed: int) -> list[Event]:
        session = Session(model)
        session.add_text("hello")
        return list(session.reply(max_tokens=12, temperature=1, seed=seed))[:-1]

    assert reply(1) == reply(1)
    assert reply(1) != reply(2)


def test_an_end_of_turn_is_the_reason_stop(
    session: Session, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, model, "yes<turn|>")
    assert ask(session).reason == "stop"


def test_a_later_turn_feeds_only_what_is_new(
    session: Session, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, model, "yes<turn|>")
    session.add_image(PICTURES[0])
    session.add_audio(tones([440], 0.4), 16_000)
    first = ask(session)
    second = ask(session, "and now")
    held = first.stats["prompt_tokens"] + first.stats["reply_tokens"]
    assert second.stats["new_prompt_tokens"] == second.stats["prompt_tokens"] - held
    assert_cache_is_as_a_fresh_one(session)


def test_a_picture_and_a_sound_in_a_later_turn_are_as_in_a_fresh_prefill(session: Session) -> None:
    ask(session)
    session.add_image(PICTURES[0])
    session.add_audio(tones([440], 0.4), 16_000)
    ask(session)
    assert_cache_is_as_a_fresh_one(session)


def test_hearing_in_pieces_is_as_hearing_at_once(model: Gemma4) -> None:
    live, whole = Session(model), Session(model)
    for one in (live, whole):
        one.add_image(PICTURES[0])
        one.add_text("listen")
    for start in range(0, len(CLIP), 4):
        live.hear(CLIP[start : start + 4])
    whole.hear(CLIP)
    live_done, whole_done = finished(live), finished(whole)
    assert live.turns[1] == whole.turns[1]
    assert live_done.stats["prompt_tokens"] == whole_done.stats["prompt_tokens"]


def test_what_was_heard_live_is_not_fed_again_by_the_reply(session: Session) -> None:
    session.add_text("listen")
    session.hear(CLIP)
    done = finished(session)
    assert done.stats["new_prompt_tokens"] < len(CLIP) < done.stats["prompt_tokens"]
    assert_cache_is_as_a_fresh_one(session)


def test_a_picture_given_while_listening_comes_before_the_sound(session: Session) -> None:
    session.hear(CLIP[:5])
    session.add_image(PICTURES[0])
    session.hear(CLIP[5:])
    config = session._model.config
    ids = session._conversation.prompt().prompt.token_ids
    assert ids.index(config.image_token_id) < ids.index(config.audio_token_id)
    assert ids.count(config.audio_token_id) == len(CLIP)
    assert_cache_is_as_a_fresh_one(session)


def test_a_turn_that_follows_begins_a_clip_of_its_own(session: Session) -> None:
    session.hear(CLIP[:5])
    finished(session)
    session.hear(CLIP[5:])
    finished(session)
    heard = [part for turn in session.turns[::2] for part in turn.parts]
    assert [len(part.frames) for part in heard] == [5, len(CLIP) - 5]  # type: ignore[union-attr]


def test_a_closed_reply_stays_as_far_as_it_was_said(session: Session) -> None:
    session.add_text("hello")
    reply = session.reply(max_tokens=50, temperature=1, seed=1)
    first = [next(reply), next(reply), next(reply)]
    reply.close()
    assert session.turns[1] == Turn("model", (TextPart(said(first)),), interrupted=True)
    ask(session, "go on")
    assert_cache_is_as_a_fresh_one(session)


def test_adding_something_ends_the_reply_that_is_being_read(session: Session) -> None:
    session.add_text("hello")
    reply = session.reply(max_tokens=50, temperature=0)
    next(reply)
    session.hear(CLIP)
    assert next(reply, None) is None
    assert len(session.turns) == 2
    finished(session)
    assert len(session.turns) == 4


def test_a_reply_that_was_never_read_leaves_the_question_open(session: Session) -> None:
    session.add_text("hello")
    session.reply()
    assert session.turns == ()
    assert finished(session).stats["reply_tokens"] > 0


def test_a_cancel_while_the_prompt_is_read_leaves_the_question_open(session: Session) -> None:
    session.add_text("a long question " * 40)
    answers = iter([False, True])
    (done,) = session.reply(cancelled=lambda: next(answers))
    assert isinstance(done, Done) and done.reason == "cancelled"
    assert session.turns == ()
    again = finished(session)
    assert again.stats["new_prompt_tokens"] == again.stats["prompt_tokens"] - 512


def test_a_cancel_while_answering_keeps_what_was_said(session: Session) -> None:
    session.add_text("hello")
    answers = iter([False] * 4 + [True])
    *events, done = session.reply(temperature=1, seed=1, cancelled=lambda: next(answers))
    assert isinstance(done, Done) and done.reason == "cancelled"
    assert done.stats["reply_tokens"] == 3
    assert session.turns[1] == Turn("model", (TextPart(said(events)),), interrupted=True)


def test_a_past_thought_is_left_out_of_the_history(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model, thinking=True)
    thought = "hm " * 120  # longer than the rows that the cache can drop without a mark
    script(monkeypatch, model, f"<|channel>thought\n{thought}<channel|>yes<turn|>")
    session.add_text("hello")
    events = list(session.reply())
    assert "".join(event.text for event in events if isinstance(event, Thought)) == thought
    assert said(events) == "yes"
    done = ask(session, "again")
    assert done.stats["prompt_tokens"] < 100
    assert done.stats["new_prompt_tokens"] < done.stats["prompt_tokens"] - 20
    assert_cache_is_as_a_fresh_one(session)


def test_rewinding_forgets_what_came_after_the_mark(session: Session) -> None:
    ask(session, "one")
    session.add_text("two")
    mark = session.mark()
    first = list(session.reply(max_tokens=6, temperature=0))[:-1]
    ask(session, "three " * 100)
    session.rewind(mark)
    assert len(session.turns) == 2
    assert list(session.reply(max_tokens=6, temperature=0))[:-1] == first
    assert_cache_is_as_a_fresh_one(session)


def test_rewinding_brings_the_tools_of_the_mark_back(session: Session) -> None:
    session.add_text("what is it")
    mark, rows = session.mark(), session.rows
    tool = {"name": "find", "description": "d", "parameters": {}}
    session.open(session.turns, [{"type": "function", "function": tool}])
    assert session.rows != rows
    session.rewind(mark)
    assert session.rows == rows


def test_a_mark_outlives_a_cache_that_had_to_be_built_anew(session: Session) -> None:
    ask(session, "one")
    mark = session.mark()
    ask(session, "two " * 150)
    session._conversation.turns = []  # nothing of what the cache holds is of use now
    ask(session, "other")
    session.rewind(mark)
    ask(session, "three")
    assert_cache_is_as_a_fresh_one(session)


STEPS = st.sampled_from(["text", "picture", "sound", "hear", "reply", "barge", "mark", "rewind"])


@settings(max_examples=12, deadline=None)
@given(st.lists(STEPS, min_size=3, max_size=12))
def test_whatever_happened_the_cache_is_as_a_fresh_one(model: Gemma4, steps: list[str]) -> None:
    session = Session(model, image_tokens=70)
    mark = session.mark()
    for number, step in enumerate(steps):
        if step == "text":
            session.add_text(f"words {number} " * 5)
        elif step == "picture":
            session.add_image(PICTURES[number % 2])
        elif step == "sound":
            session.add_audio(tones([300 + number], 0.2), 16_000)
        elif step == "hear":
            session.hear(CLIP[number % 3 : number % 3 + 3])
        elif step == "mark":
            mark = session.mark()
        elif step == "rewind":
            session.rewind(mark)
        else:
            session.add_text("well?")
            reply = session.reply(max_tokens=6, temperature=0)
            for _ in range(2 if step == "barge" else 99):
                if next(reply, None) is None:
                    break
    session.add_text("and?")
    assert_cache_is_as_a_fresh_one(session)


def test_turns_that_are_opened_again_are_not_read_again(session: Session) -> None:
    session.add_image(PICTURES[0])
    first = ask(session, "one")
    second = ask(session, "two")
    assert first.ids == session.turns[1].ids and second.ids == session.turns[3].ids
    held, before = session.context[0], session.turns
    plain = [dataclasses.replace(turn, ids=()) for turn in before[:2]]
    session.open(plain)
    assert session.unread < 4 < held
    assert session.turns[1].ids == first.ids
    assert ask(session, "two").ids == second.ids
    session.open(before[:1])  # a question that is still open can be answered
    again = finished(session)
    assert again.ids == first.ids
    assert again.stats["new_prompt_tokens"] < 4
    assert_cache_is_as_a_fresh_one(session)


def test_turns_of_another_session_are_read_once(model: Gemma4, session: Session) -> None:
    session.add_image(PICTURES[0])
    ask(session, "one")
    other = Session(model, "be brief", turns=session.turns, image_tokens=70)
    assert other.turns[0] == Turn("system", (TextPart("be brief"),))
    assert other.turns[1:] == session.turns
    unread = other.unread
    steps = list(other.reading())
    assert steps[-1] == (unread, unread) and other.unread == 0
    assert_cache_is_as_a_fresh_one(other)


def test_sessions_whose_steps_take_turns_give_what_each_gives_alone(model: Gemma4) -> None:
    def asked(text: str) -> Session:
        session = Session(model)
        session.hear(CLIP)
        session.add_text(text * 90)
        return session

    texts = ("one ", "other ", "third ")
    alone = [list(asked(text).reply(6, temperature=0))[:-1] for text in texts]
    sessions = [asked(text) for text in texts]
    running = [session.replying(6, temperature=0) for session in sessions]
    found: list[list[Any]] = [[] for _ in texts]
    steps = 0
    while any(running):
        for number, work in enumerate(running):
            if work is not None:
                step = next(work, "end")
                steps += isinstance(step, tuple)
                if step == "end":
                    running[number] = None
                elif step is not None and not isinstance(step, tuple | Done):
                    found[number].append(step)
    assert found == alone
    assert steps >= 3


def test_hearing_that_is_left_half_done_is_finished_by_the_reply(model: Gemma4) -> None:
    left, whole = Session(model), Session(model)
    steps = left.listening(CLIP)
    left.add_text("listen")
    assert next(steps, None) is None
    whole.hear(CLIP)
    whole.add_text("listen")
    whole.notices()
    assert list(left.reply(5, temperature=0))[:-1] == list(whole.reply(5, temperature=0))[:-1]
    assert left.turns[-1] == whole.turns[-1]


def test_equal_pictures_are_held_once(model: Gemma4) -> None:
    one, other = Session(model, image_tokens=70), Session(model, image_tokens=70)
    first, second = one.add_image(PICTURES[0]), other.add_image(PICTURES[0].copy())
    parts = [session._conversation.pending.parts[0] for session in (one, other)]
    assert first.patches is not second.patches
    assert parts[0].picture.patches is parts[1].picture.patches  # type: ignore[union-attr]
    assert first.patches.dtype == np.uint8


@pytest.mark.parametrize("ids", [(70, 71), (-1,), (10**9,), (8,)])
def test_ids_of_another_tokenizer_are_not_used(session: Session, ids: tuple[int, ...]) -> None:
    text = (TextPart("hello there"),)
    turns = [Turn("user", (TextPart("hi"),)), Turn("model", text, ids=ids)]
    session.open(turns)
    assert session.turns[1].ids == ()
    own = session._conversation._tokenizer.encode("hello there")
    session.open([turns[0], dataclasses.replace(turns[1], ids=tuple(own))])
    assert session.turns[1].ids == tuple(own)
