"""What goes where the context is full and turns may be dropped, and what never does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, ToolResult, Turn
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Dropped, Event, ToolCall
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.session import Session

VOICE = (np.random.default_rng(2).standard_normal((90, 640)) * 0.1).astype(np.float32)
NOISE = np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8)
CONTEXT = 400
CALL = ToolCall("c1", "find", {"q": "x"})


def user(text: str) -> Turn:
    return Turn("user", (TextPart(text),))


def result(text: str, call: ToolCall = CALL) -> Turn:
    return Turn("tool", (ToolResult(call.name, text, call.id),))


OLD = [user("a" * 60), Turn("model", (TextPart("b" * 60),))] * 2
CALLED = [user("find it"), Turn("model", (CALL,))]


def opened(model: Gemma4, turns: Sequence[Turn], when_full: str = "drop") -> Session:
    return Session(
        model,
        "be brief",
        turns,
        hearing="direct",
        context=CONTEXT,
        when_full=when_full,  # type: ignore[arg-type]
    )


def roles(session: Session) -> list[str]:
    return [turn.role for turn in session.turns]


def replied(session: Session) -> tuple[list[Dropped], Done]:
    events: list[Event] = list(session.reply(3, temperature=0))
    assert isinstance(events[-1], Done)
    return [event for event in events if isinstance(event, Dropped)], events[-1]


def test_a_question_that_is_among_the_turns_stays_and_is_answered(model: Gemma4) -> None:
    alone = opened(model, [user("q" * 340)])
    question = [*alone.turns]
    assert replied(alone)[0] == []
    assert roles(alone) == ["system", "user", "model"]
    session = opened(model, [*OLD, user("q" * 340)])
    dropped, done = replied(session)
    assert dropped == [Dropped(4)]
    assert [*session.turns[:2]] == question
    assert done.ids == alone.turns[-1].ids


def test_a_question_that_is_too_long_loses_nothing(model: Gemma4) -> None:
    for add in (False, True):
        session = opened(model, OLD if add else [*OLD, user("q" * 420)])
        before = session.turns
        if add:
            session.add_text("q" * 420)
        while session.idle():
            pass
        with pytest.raises(Gemma4Error) as error:
            list(session.reply())
        assert error.value.code == "context_full"
        assert session.turns == before and session.notices() == []
        session.discard()
        assert session.turns == before


@pytest.mark.parametrize("extra", range(8))
def test_nothing_is_dropped_either_where_only_the_header_of_the_reply_does_not_fit(
    model: Gemma4, extra: int
) -> None:
    room = CONTEXT - len(opened(model, [user("")]).rows)
    session = opened(model, OLD)
    session.add_text("q" * (room - extra))
    try:
        assert replied(session)[0] == [Dropped(4)]
    except Gemma4Error as error:
        assert error.code == "context_full"
        assert len(session.turns) == 5


@pytest.mark.parametrize("before", [[], OLD])
@pytest.mark.parametrize("idle", [False, True])
def test_the_call_that_a_result_belongs_to_stays_with_its_question(
    model: Gemma4, before: list[Turn], idle: bool
) -> None:
    session = opened(model, [*before, *CALLED])
    session.add_tool_result("c1", "r" * 250)
    if idle:
        session.idle()
    replied(session)
    assert roles(session) == ["system", "user", "model", "tool", "model"]
    assert session.turns[1].parts == CALLED[0].parts and session.turns[2].parts == (CALL,)


def test_so_it_does_before_the_result_is_there(model: Gemma4) -> None:
    session = opened(model, [user("q" * 270), CALLED[1]])
    while session.idle():
        pass
    session.hear(VOICE[:60])
    assert CONTEXT - session.context[0] < CONTEXT // 16
    assert roles(session) == ["system", "user", "model"]
    session.discard()
    session.hear(VOICE[:5])
    session.add_tool_result("c1", "yes")
    replied(session)
    assert roles(session) == ["system", "user", "model", "tool", "user", "model"]


def test_a_call_that_nobody_answers_goes_as_an_answer_does(model: Gemma4) -> None:
    session = opened(model, [user("q" * 300), CALLED[1]])
    session.add_text("n" * 100)
    assert replied(session)[0] == [Dropped(2)]
    assert roles(session) == ["system", "user", "model"]


def test_pictures_of_a_result_are_no_question_of_their_own(model: Gemma4) -> None:
    picture = Session(model, image_tokens=70).add_image(NOISE)
    seen = [*CALLED, result("r"), Turn("user", (ImagePart(picture),))]
    again = ToolCall("c2", "find", {})
    session = opened(model, [*OLD, *seen, Turn("model", (again,))])
    session.add_tool_result("c2", "r" * 150)
    assert replied(session)[0] == [Dropped(4)]
    assert [*session.turns[1:5]] == seen
    answered = [*seen, Turn("model", (TextPart("a"),))]
    session = opened(model, [*answered, user("q" * 320)])
    assert replied(session)[0] == [Dropped(5)]


def test_pictures_and_sound_of_the_question_stay(model: Gemma4) -> None:
    session = opened(model, OLD)
    session.add_image(NOISE, 70)
    session.hear(VOICE[:60])
    session.add_text("x" * 90)
    assert replied(session)[0]
    kinds = [type(part) for turn in session.turns if turn.role == "user" for part in turn.parts]
    assert kinds[-3:] in ([ImagePart, SoundPart, TextPart], [ImagePart, TextPart, SoundPart])


def test_live_sound_takes_the_room_of_old_turns_and_not_more_than_there_is(model: Gemma4) -> None:
    session = opened(model, OLD)
    with pytest.raises(Gemma4Error) as error:
        for _ in range(9):
            heard = session.heard_seconds
            session.hear(VOICE)
    assert error.value.code == "context_full"
    assert session.heard_seconds == heard > 7
    assert sum(one.turns for one in session.notices() if isinstance(one, Dropped)) == 4
    replied(session)  # what fits can be answered
    assert roles(session) == ["system", "user", "model"]


def test_the_last_answer_stays_while_nothing_follows_it(model: Gemma4) -> None:
    session = opened(model, [*OLD, user("q" * 180), Turn("model", (TextPart("a" * 180),))])
    while session.idle():
        pass
    assert session.notices()[:1] == [Dropped(4)]
    assert roles(session) == ["system", "user", "model"]
    session.add_text("n" * 60)
    assert replied(session)[0] == [Dropped(2)]


@pytest.mark.parametrize("after", [[], OLD])
def test_a_system_turn_in_the_middle_stays(model: Gemma4, after: list[Turn]) -> None:
    rule = Turn("system", (TextPart("in German"),))
    session = Session(
        model, turns=[*OLD, rule, *after], context=CONTEXT, when_full="drop", hearing="direct"
    )
    session.add_text("q" * 340)
    replied(session)
    assert roles(session) == ["system", "user", "model"]
    assert session.turns[0] == rule


@pytest.mark.parametrize("when_full", ["stop", "drop"])
def test_context_bounds_what_is_heard_and_what_is_read_ahead(model: Gemma4, when_full: str) -> None:
    session = opened(model, [], when_full)
    with pytest.raises(Gemma4Error) as error:
        for _ in range(9):
            session.hear(VOICE)
    assert error.value.code == "context_full"
    assert session.context[0] <= CONTEXT
    replied(session)
    session = opened(model, [], when_full)
    session.add_text("x" * 500)
    while session.idle():
        pass
    assert session.context[0] <= CONTEXT and session.notices() == []
