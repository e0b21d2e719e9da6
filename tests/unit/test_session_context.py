"""What is in the cache is never read again; thoughts leave it; and a full context is handled."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.chat.messages import TextPart
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import ContextLow, Done, Dropped, Event, Heard, Thought
from mlx_gemma4.generation.prefill_decode import finish
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.session import prefix_cache
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tiny_config, tiny_model
from tests.configs import with_context

VOICE = (np.random.default_rng(2).standard_normal((90, 640)) * 0.1).astype(np.float32)
TEMPLATE = Path(__file__).parents[1] / "fixtures" / "gemma4_chat_template.jinja"


def say(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    """Make every reply these ids."""

    def decode(model: Gemma4, _: Any, cache: Any, *rest: Any) -> Generator[int]:
        embedded = model.language_model.model.embed(mx.array(ids))
        model.hidden(Inputs(embedded, np.zeros(len(ids), np.int32)), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", decode)


def ask(session: Session, text: str = "what", tokens: int = 8) -> list[Event]:
    session.add_text(text)
    return list(session.reply(tokens, temperature=0))


def stats(events: list[Event]) -> dict[str, float]:
    done = events[-1]
    assert isinstance(done, Done)
    return dict(done.stats)


def fed_after(session: Session, events: list[Event]) -> float:
    """Tokens that the next reply feeds, beyond those of its own turn."""
    before = stats(events)["prompt_tokens"] + stats(events)["reply_tokens"]
    after = stats(ask(session, "and now"))
    return after["new_prompt_tokens"] - (after["prompt_tokens"] - before)


def test_an_answer_is_never_read_again_even_if_its_text_is_tokenized_otherwise(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer.from_folder(model.folder)
    # "user" is one token, and here it came in pieces; the text starts and ends with a space, too
    ids = [tokenizer.encode(letter)[0] for letter in " user "]
    assert tokenizer.encode(" user ") != ids
    say(monkeypatch, [*ids, tokenizer.token_id("<turn|>")])
    session = Session(model)
    events = ask(session)
    assert session.turns[1].parts == (TextPart(" user "),)
    assert session.turns[1].ids == tuple(ids)
    assert fed_after(session, events) == 0


def test_a_control_token_that_means_nothing_does_not_stay_in_the_history(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer.from_folder(model.folder)
    stray = model.config.image_token_id
    say(monkeypatch, [*tokenizer.encode("yes"), stray, tokenizer.token_id("<turn|>")])
    session = Session(model)
    ask(session)
    assert session.turns[1].ids == ()
    assert stray not in session._conversation.settled().prompt.token_ids
    assert isinstance(ask(session)[-1], Done)


@pytest.mark.parametrize("words", [3, 130])
def test_a_thought_is_left_out_while_idle_and_not_in_the_next_reply(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, words: int
) -> None:
    tokenizer = Tokenizer.from_folder(model.folder)
    thought = "hm " * words  # the longer one passes the rows that are dropped for free
    reply = f"<|channel>thought\n{thought}<channel|>yes<turn|>"
    say(monkeypatch, tokenizer.encode(reply, special=True))
    session = Session(model, thinking=True)
    session.hear(VOICE)
    events = ask(session)
    assert any(isinstance(event, Thought) for event in events)
    long = session.context[0]
    assert session.idle()
    assert not session.idle()
    assert session.context[0] < long - 3 * words
    assert session.turns[1].ids == tuple(tokenizer.encode("yes"))
    say(monkeypatch, tokenizer.encode("no<turn|>", special=True))
    after = stats(ask(session, "again"))
    assert after["new_prompt_tokens"] == after["prompt_tokens"] - session_rows(session, after)


def session_rows(session: Session, after: dict[str, float]) -> float:
    """Rows that were held when the last question was asked."""
    closed = "<turn|>\n"
    tail = session._conversation._tokenizer.encode(closed, special=True)
    settled = session._conversation.settled().prompt.token_ids
    question = session._conversation._tokenizer.encode("<|turn>user\nagain<turn|>\n", special=True)
    answer = session._conversation._tokenizer.encode("<|turn>model\n", special=True)
    return len(settled) - len(question) - len(answer) - len(session.turns[-1].ids) - len(tail)


def test_the_published_template_costs_no_second_reading(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens a reply with an empty thought, which only our history keeps."""
    plain = Tokenizer.from_folder(model.folder)
    tokenizer = Tokenizer(plain._backend, TEMPLATE.read_text())
    answer = tokenizer.encode("yes " * 100)
    say(monkeypatch, [*answer, tokenizer.token_id("<turn|>")])
    session = Session(model, tokenizer=tokenizer)
    session.hear(VOICE)
    first = stats(ask(session, "x" * 80))
    assert first["prompt_tokens"] > 180
    read: list[int] = []
    prefill = prefix_cache.prefill

    def counted(model: Gemma4, inputs: Any, *rest: Any, **named: Any) -> Any:
        read.append(len(inputs))
        return prefill(model, inputs, *rest, **named)

    monkeypatch.setattr(prefix_cache, "prefill", counted)
    while session.idle():
        pass
    assert sum(read) <= 2  # what follows the end of a turn
    ask(session, "and now?")
    assert 2 < sum(read) < 40


@pytest.fixture
def short(folder: Path) -> Gemma4:
    """A model whose context has 400 rows."""
    model = tiny_model(config=with_context(tiny_config(), 400))
    model.folder = folder
    return model


def test_a_context_that_is_nearly_full_is_told_once_and_again_after_going_back(
    short: Gemma4,
) -> None:
    session = Session(short)
    mark = session.mark()
    session.add_text("x" * 355)
    first = list(session.reply(2, temperature=0))
    (low,) = [event for event in first if isinstance(event, ContextLow)]
    used, of = session.context
    assert low.left == of - used < 50
    assert not any(isinstance(event, ContextLow) for event in ask(session, "y", 2))
    session.rewind(mark)
    session.add_text("x" * 355)
    session.idle()
    assert [type(notice) for notice in session.notices()] == [ContextLow]


def test_frames_that_do_not_fit_are_not_taken_and_all_else_stays(short: Gemma4) -> None:
    session = Session(short, hearing="direct")
    session.add_text("x" * 300)
    session.hear(VOICE[:50])
    with pytest.raises(Gemma4Error) as error:
        session.hear(VOICE)
    assert error.value.code == "context_full"
    assert session.heard_seconds == 2.0
    assert isinstance(list(session.reply(2, temperature=0))[-1], Done)


def test_the_oldest_turns_are_dropped_while_idle_where_that_is_wanted(short: Gemma4) -> None:
    session = Session(short, "be brief", when_full="drop")
    dropped = 0
    for _ in range(24):
        session.add_text("x" * 9)
        events = list(session.reply(5, temperature=0))
        assert isinstance(events[-1], Done) and events[-1].reason == "length"
        assert not any(isinstance(event, Dropped) for event in events)
        while session.idle():
            pass
        dropped += sum(n.turns for n in session.notices() if isinstance(n, Dropped))
        assert session.context[0] <= 400 * 7 / 8
    assert dropped > 0
    assert len(session.turns) == 1 + 48 - dropped
    assert session.turns[0].parts == (TextPart("be brief"),)
    assert session.turns[1].role == "user"


def test_without_idle_the_reply_drops_turns_itself_and_loses_no_sound(short: Gemma4) -> None:
    session = Session(short, when_full="drop", hearing="direct")
    told: list[Event] = []
    for _ in range(6):
        for start in range(0, 90, 30):
            session.hear(VOICE[start : start + 30])
        told += session.reply(5, temperature=0)
        heard = session.turns[-2].parts[-1]
        assert np.array_equal(heard.frames, VOICE)  # type: ignore[union-attr]
    assert any(isinstance(event, Dropped) for event in told)


def test_a_question_that_alone_is_too_long_is_refused_even_if_turns_may_be_dropped(
    short: Gemma4,
) -> None:
    session = Session(short, when_full="drop")
    ask(session)
    session.add_text("x" * 450)
    with pytest.raises(Gemma4Error, match="too long"):
        list(session.reply())


def test_a_prompt_of_many_segments_is_read_as_one(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_cache, "SEGMENT", 7)
    session = Session(model, image_tokens=70)
    session.add_image(np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8))
    session.add_audio(VOICE[:20].ravel(), 16_000)
    session.add_text("listen and look")
    prompt = session._conversation.prompt()
    seen: list[tuple[int, int]] = []
    fed = finish(
        session._conversation.cache.feed(prompt), lambda done, total: seen.append((done, total))
    )
    assert fed is not None
    logits, prompt = model.logits(fed[0])[:, -1], prompt.prompt
    expected = model.forward(prompt.token_ids, prompt.images, audio=prompt.audio)[:, -1]
    assert np.abs(np.array(logits - expected)).max() < 2e-3
    assert seen[-1] == (len(prompt.token_ids), len(prompt.token_ids))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) > 5


def test_a_transcript_takes_no_room_of_the_conversation(short: Gemma4) -> None:
    session = Session(short, hearing="direct")
    session.add_text("x" * 200)
    session.hear(VOICE)  # with what asks for the transcript, more than 400 rows
    events = list(session.reply(2, temperature=0, heard=True))
    assert len([event for event in events if isinstance(event, Heard)]) == 1
    assert stats(events)["reply_tokens"] == 2
    assert session.context[0] < 400
