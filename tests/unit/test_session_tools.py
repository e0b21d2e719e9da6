"""Tools through a session: calls with ids, results with pictures, and no row read twice."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4.chat.messages import ImagePart, TextPart, ToolResult, Turn
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Thought, ToolCall
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import prefix_cache
from mlx_gemma4.session.session import Session

NOISE = np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8)
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": {}}}
    for name in ("find", "shot")
]
# keys in another order and blanks, as a model may write them and we would not
FIND = '<|tool_call>call:find{ b:1,a:<|"|>x<|"|>}<tool_call|>'
SHOT = "<|tool_call>call:shot{}<tool_call|>"


def script(monkeypatch: pytest.MonkeyPatch, model: Gemma4, reply: str) -> list[int]:
    """Make every reply this text, with control tokens spelled in it; returns its ids."""
    ids = Tokenizer.from_folder(model.folder).encode(reply, special=True)

    def decode(model: Gemma4, _: Any, cache: Any, *rest: Any) -> Generator[int]:
        model.hidden(model.embed(ids), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", decode)
    return ids


def replied(session: Session) -> tuple[list[ToolCall], Done]:
    events: list[Event] = list(session.reply(temperature=0))
    done = events[-1]
    assert isinstance(done, Done)
    return [event for event in events if isinstance(event, ToolCall)], done


def called(
    monkeypatch: pytest.MonkeyPatch, model: Gemma4, reply: str, **settings: Any
) -> tuple[Session, list[ToolCall]]:
    """A conversation to which the model has replied this, and the calls in it."""
    session = Session(model, tools=TOOLS, **settings)
    script(monkeypatch, model, reply)
    session.add_text("go")
    return session, replied(session)[0]


def test_tools_are_declared_and_their_calls_answered_in_the_same_turn_of_the_model(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model, tools=TOOLS)
    text = Tokenizer.from_folder(model.folder)
    drawn = script(monkeypatch, model, f"so {FIND}<|tool_response>")
    session.add_text("find x")
    (call,), done = replied(session)
    assert (call.name, call.arguments) == ("find", {"a": "x", "b": 1})
    assert call.id.startswith("call_") and len(call.id) > 12
    assert done.ids == session.turns[-1].ids == tuple(drawn[:-1])
    prompt = session._conversation.prompt().prompt.token_ids
    opening = text.encode("<bos><|turn>system\n<|tool>declaration:find", special=True)
    assert prompt[: len(opening)] == opening
    held = session.context[0]
    session.add_tool_result(call.id, {"sky": "blue"})
    prompt = session._conversation.prompt().prompt.token_ids
    tail = '<|tool_response>response:find{sky:<|"|>blue<|"|>}<tool_response|>'
    assert prompt[-len(text.encode(tail, special=True)) :] == text.encode(tail, special=True)
    script(monkeypatch, model, "blue<turn|>")
    _, done = replied(session)
    assert done.stats["new_prompt_tokens"] == done.stats["prompt_tokens"] - held
    assert [turn.role for turn in session.turns] == ["user", "model", "tool", "model"]
    session.add_text("and now?")
    held = session.context[0]
    _, done = replied(session)
    assert done.stats["new_prompt_tokens"] == done.stats["prompt_tokens"] - held


def test_a_thought_before_a_call_stays_until_the_user_speaks(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    thought = "<|channel>thought\nhm \n<channel|>"
    reply = f"{thought}{SHOT}<|tool_response>"
    session, (call,) = called(monkeypatch, model, reply, thinking=True)
    held = session.context[0]
    session.add_tool_result(call.id, "done")
    script(monkeypatch, model, "yes<turn|>")
    _, done = replied(session)
    assert done.stats["new_prompt_tokens"] == done.stats["prompt_tokens"] - held
    channel = session._conversation._tokenizer.token_id("<|channel>")
    assert channel in session._conversation.settled().prompt.token_ids
    session.add_text("and now?")
    assert channel not in session._conversation.settled().prompt.token_ids
    assert any(isinstance(part, Thought) for part in session.turns[1].parts)


@pytest.mark.parametrize("reply", [SHOT, "a word"])
def test_a_thought_is_in_no_other_conversation_that_has_an_equal_turn(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    drawn = f"<|channel>thought\nJohn is ill\n<channel|>{reply}<turn|>"
    one, _ = called(monkeypatch, model, drawn, thinking=True)
    thought, *said = one.turns[1].parts
    assert isinstance(thought, Thought)
    other = [replace(part, id="mine") if isinstance(part, ToolCall) else part for part in said]
    result = Turn("tool", (ToolResult("shot", "done", "mine"),))
    turns = [one.turns[0], Turn("model", tuple(other)), *([result] if reply == SHOT else [])]
    alone = Session(model, turns=turns, tools=TOOLS, thinking=True)._conversation
    beside = Session(
        model, turns=turns, tools=TOOLS, thinking=True, drawn=one._conversation._drawn
    )._conversation
    assert beside.turns[1].parts == tuple(other)
    assert beside.settled().prompt.token_ids == alone.settled().prompt.token_ids
    one.open([one.turns[0], Turn("model", tuple(said))])  # its own comes back without its thought
    assert (thought in one.turns[1].parts) == (reply == SHOT)


def test_results_of_several_calls_are_in_the_order_of_the_calls_and_none_may_be_missing(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, (find, shot) = called(monkeypatch, model, f"{FIND}{SHOT}<|tool_response>")
    assert find.id != shot.id
    session.add_tool_result(shot.id, "done")
    with pytest.raises(Gemma4Error, match=find.id) as caught:
        session.reply()
    assert caught.value.code == "tool_result_missing"
    session.add_tool_result(find.id, {"n": 2})
    script(monkeypatch, model, "yes<turn|>")
    replied(session)
    assert session.turns[2] == Turn(
        "tool", (ToolResult("find", {"n": 2}), ToolResult("shot", "done"))
    )


def test_pictures_of_a_result_follow_as_a_turn_of_the_users(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, (shot,) = called(monkeypatch, model, f"{SHOT}<|tool_response>", image_tokens=70)
    content = [{"type": "text", "text": "one"}, NOISE, "two", {"type": "image", "image": NOISE}]
    first, second = session.add_tool_result(shot.id, content)
    assert first.patches is not None and np.array_equal(first.patches, second.patches)
    script(monkeypatch, model, "yes<turn|>")
    replied(session)
    assert [turn.role for turn in session.turns] == ["user", "model", "tool", "user", "model"]
    assert session.turns[2].parts == (ToolResult("shot", "one\ntwo"),)
    assert [type(part) for part in session.turns[3].parts] == [ImagePart, ImagePart]


def test_a_picture_of_any_kind_may_be_in_a_result_or_be_all_of_it(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.fromarray(NOISE).save(tmp_path / "noise.png")
    content = (tmp_path / "noise.png").read_bytes()
    picture = Session(model, image_tokens=70).add_image(NOISE)
    kinds = [
        *(NOISE, Image.fromarray(NOISE), picture, ImagePart(picture)),
        *(tmp_path / "noise.png", content, bytearray(content), BytesIO(content)),
    ]
    for kind in kinds:
        for whole in (kind, [kind], ["seen", kind]):
            session, (shot,) = called(monkeypatch, model, SHOT, image_tokens=70)
            if isinstance(kind, BytesIO):
                kind.seek(0)
            (made,) = session.add_tool_result(shot.id, whole)
            assert np.array_equal(made.patches, picture.patches)


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        ({2: "two", 10: ("ten",)}, {"2": "two", "10": ["ten"]}),
        ({1: "a", "b": 2}, {"1": "a", "b": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({"when": datetime(2026, 1, 1)}, None),
        ({"total": Decimal("3.1")}, None),
        ({"total": np.float32(3)}, None),
        ({"all": {1, 2}}, None),
        ({(1, 2): 3}, None),
    ],
)
def test_a_result_is_what_json_makes_of_it_or_refused(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, response: Any, kept: Any
) -> None:
    session, (call,) = called(monkeypatch, model, FIND)
    if kept is None:
        with pytest.raises(Gemma4Error) as error:
            session.add_tool_result(call.id, response)
        assert error.value.code == "tool_result_malformed"
        return
    session.add_tool_result(call.id, response)
    session.save(tmp_path)
    script(monkeypatch, model, "yes<turn|>")
    for one in (session, Session.restore(model, tmp_path)):
        replied(one)
        (result,) = one.turns[2].parts
        assert isinstance(result, ToolResult) and result.response == kept


def test_a_result_stays_as_it_was_when_it_was_added(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, (call,) = called(monkeypatch, model, FIND)
    response = {"found": ["a"]}
    session.add_tool_result(call.id, response)
    response["found"].append("b")
    replied(session)
    assert session.turns[2].parts == (ToolResult("find", {"found": ["a"]}, call.id),)


def test_a_result_without_a_call_and_a_part_that_is_something_else_are_refused(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model, tools=TOOLS)
    with pytest.raises(Gemma4Error, match="call_1") as caught:
        session.add_tool_result("call_1", "x")
    assert caught.value.code == "tool_call_unknown"
    script(monkeypatch, model, f"{SHOT}<|tool_response>")
    session.add_text("go")
    (shot,), _ = replied(session)
    for content in ([7], None, 7):
        with pytest.raises(Gemma4Error) as caught:
            session.add_tool_result(shot.id, content)  # type: ignore[arg-type]
        assert caught.value.code == "tool_result_malformed"
    with pytest.raises(Gemma4Error, match="nothing to answer|There is nothing"):
        session.reply()
    session.add_tool_result(shot.id, {1: {2: 3}})  # keys as in JSON
    replied(session)


def test_a_client_that_sends_the_conversation_back_has_nothing_read_twice(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model, tools=TOOLS)
    script(monkeypatch, model, f" so  {FIND}<|tool_response>")
    session.add_text("find x")
    (call,), _ = replied(session)
    held = session.context[0]
    back = ToolCall(call.id, "find", {"b": 1, "a": "x"})
    session.open([Turn("user", (TextPart("find x"),)), Turn("model", (TextPart("so"), back))])
    session.add_tool_result(call.id, "blue")
    script(monkeypatch, model, "blue<turn|>")
    _, done = replied(session)
    assert done.stats["new_prompt_tokens"] == done.stats["prompt_tokens"] - held


def test_tools_calls_and_results_are_saved(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    session, (find, shot) = called(monkeypatch, model, f"{FIND}{SHOT}<|tool_response>")
    session.add_tool_result(find.id, "x")
    session.save(tmp_path)
    again = Session.restore(model, tmp_path)
    assert again.unread == 0 and again.context == session.context
    again.add_tool_result(shot.id, "y")
    session.add_tool_result(shot.id, "y")
    assert (
        again._conversation.prompt().prompt.token_ids
        == session._conversation.prompt().prompt.token_ids
    )


@pytest.mark.parametrize("tool", [{"a": 1}, {"type": "function", "function": {}}, "clock", None])
def test_a_malformed_tool_is_refused_when_the_session_is_made(model: Gemma4, tool: object) -> None:
    with pytest.raises(Gemma4Error, match="no function with a name") as refused:
        Session(model, tools=[tool])  # type: ignore[list-item]
    assert refused.value.code == "tool_malformed"
    session = Session(model, tools=TOOLS)
    with pytest.raises(Gemma4Error):
        session.open((), [tool])  # type: ignore[list-item]
