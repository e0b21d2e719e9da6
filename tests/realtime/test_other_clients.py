"""Events as other programs write them: null for what they leave out, and other shapes of items."""

from typing import Any

import pytest

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.commands import AddToolResult, Reply
from tests.realtime.talking import by_hand, last

DETECTION = {"type": "server_vad", "threshold": None, "silence_duration_ms": None}


@pytest.mark.parametrize(
    "session",
    [
        {"type": None, "instructions": None, "tools": None, "tool_choice": None, "audio": None},
        {"output_modalities": None, "max_output_tokens": None, "temperature": None},
        {"audio": {"input": None, "output": {"format": None, "voice": None, "speed": None}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": None}}}},
        {"prompt": None, "include": None, "truncation": None, "modalities": None},
    ],
)
def test_null_changes_nothing_of_a_session(session: dict[str, Any]) -> None:
    talk = by_hand()
    before = talk.protocol.answers.session
    (event,) = talk.send("session.update", session=session)
    assert event["type"] == "session.updated" and talk.protocol.answers.session == before


def test_null_keeps_what_turn_detection_is_and_switches_it_off_itself() -> None:
    talk = by_hand()
    sound: dict[str, Any] = {"input": {"turn_detection": DETECTION}}
    talk.send("session.update", session={"audio": sound})
    assert talk.protocol.answers.session["audio"]["input"]["turn_detection"]["threshold"] == 0.5
    talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    assert talk.protocol.answers.session["audio"]["input"]["turn_detection"] is None


def test_null_asks_a_response_for_nothing() -> None:
    talk = by_hand()
    talk.say("hi")
    names = "instructions output_modalities tools tool_choice max_output_tokens conversation input"
    talk.send("response.create", response=dict.fromkeys([*names.split(), "metadata", "audio"]))
    assert last(talk, Reply).may_call


def test_a_field_of_the_former_api_is_refused_in_a_response_too() -> None:
    talk = by_hand()
    talk.say("hi")
    (error,) = talk.send("response.create", response={"modalities": ["text"]})
    assert error["error"]["param"] == "response.modalities"
    (error,) = talk.send("response.create", response={"max_response_output_tokens": 1})
    assert "response.max_output_tokens" in error["error"]["message"]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "message", "role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"type": None, "id": None, "status": None, "role": "user", "content": "hi"},
    ],
)
def test_a_message_comes_in_each_of_its_shapes(item: dict[str, Any]) -> None:
    talk = by_hand()
    events = talk.send("conversation.item.create", item=item)
    assert [one["type"] for one in events][-1] == "conversation.item.done"
    assert events[-1]["item"]["content"] == [{"type": "input_text", "text": "hi"}]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [(None, {}), ("", {}), ('{"a": 1}', {"a": 1}), ('{"a": ', {"malformed": '{"a": '})],
)
@pytest.mark.parametrize(
    ("output", "text"),
    [("r", "r"), (None, ""), ([{"type": "input_text", "text": "r"}, "s"], "r\ns")],
)
def test_a_call_and_its_result_come_back_as_they_were_kept(
    arguments: Any, read: dict[str, Any], output: Any, text: str
) -> None:
    talk = by_hand()
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}
    result = {"type": "function_call_output", "call_id": "c", "output": output}
    for item in (call, result):
        events = talk.send("conversation.item.create", previous_item_id=None, item=item)
        assert events[-1]["type"] == "conversation.item.done", events
    calls = [i for item in talk.protocol._feed.items for i in item.parts if isinstance(i, ToolCall)]
    assert calls == [ToolCall("c", "f", read)]
    results = [
        i for item in talk.protocol._feed.items for i in item.parts if isinstance(i, AddToolResult)
    ]
    assert [(one.call_id, one.content) for one in results] == [("c", text)]


def test_arguments_that_are_nested_too_deeply_are_refused() -> None:
    deep = '{"a": ' + "[" * 200 + "]" * 200 + "}"
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": deep}
    (error,) = by_hand().send("conversation.item.create", item=call, event_id="mine")
    assert error["error"]["param"] == "item.arguments" and error["error"]["event_id"] == "mine"


def test_a_developer_is_the_system() -> None:
    talk = by_hand()
    item = {"type": "message", "role": "developer", "content": "rules"}
    events = talk.send("conversation.item.create", item=item)
    assert events[-1]["item"]["role"] == "system"


def test_an_output_that_is_no_text_is_refused() -> None:
    talk = by_hand()
    item = {"type": "function_call_output", "call_id": "c", "output": {"a": 1}}
    (event,) = talk.send("conversation.item.create", item=item)
    assert event["error"]["param"] == "item.output"
