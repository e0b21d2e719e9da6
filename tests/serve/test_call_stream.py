"""Calls come piece by piece, in each dialect's form, and are whole JSON when they end."""

import json
import random
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.chat.parser import ReplyParser
from mlx_gemma4.chat.tools import call
from mlx_gemma4.events import CallText, Thought, Token, ToolCall
from mlx_gemma4.serve.call_stream import (
    CallBroken,
    CallDelta,
    CallEnded,
    CallStarted,
    CallStream,
)
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import call as realtime
from tests.unit.test_parse import KEYS, TOKENIZER, VALUES, ids_of

from .serving import events as chunks
from .serving import served

ARGUMENTS = {"city": 'Ro"me', "days": 3}


def taken(written: str, cuts: random.Random | None = None) -> list[object]:
    parser, stream = ReplyParser(TOKENIZER, pieces=True), CallStream()
    drawn = [event for token_id in ids_of(written, cuts) for event in parser.add(token_id)]
    return [one for event in [*drawn, *parser.finish(), None] for one in stream.take(event)][:-1]


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_the_pieces_are_the_json_of_the_arguments(
    arguments: dict[str, Any], cuts: random.Random
) -> None:
    started, *deltas, ended = taken(call(ToolCall("", "f", arguments)), cuts)
    assert isinstance(started, CallStarted) and isinstance(ended, CallEnded)
    assert (started.id, started.name) == (ended.call.id, "f")
    text = "".join(delta.text for delta in deltas if isinstance(delta, CallDelta))
    assert text == ended.arguments
    assert json.loads(text) == ended.call.arguments


def test_a_string_comes_as_it_is_written_and_a_number_when_it_is_over() -> None:
    written = '<|tool_call>call:f{a:<|"|>x"y<|"|>,b:12}<tool_call|>'
    deltas = [one.text for one in taken(written) if isinstance(one, CallDelta)]
    assert deltas == ['{"a":', '"', "x", '\\"', "y", '"', ',"b":', "12}"]


@pytest.mark.parametrize("end", ["", "<turn|>", "<channel|>", "}}<tool_call|>"])
def test_a_call_that_is_cut_is_broken_off_with_what_was_written(end: str) -> None:
    *deltas, broken = taken(f'<|tool_call>call:f{{a:<|"|>x<|"|>{end}')[1:]
    assert isinstance(broken, CallBroken)
    assert broken.text.startswith('call:f{a:"x"')
    assert (
        broken.arguments
        == "".join(one.text for one in deltas)
        == '{"a":"x"' + "}" * (2 if "}" in end else 0)
    )


def test_what_is_no_call_from_its_start_is_text() -> None:
    assert taken("<|tool_call>f{a:1}<tool_call|>") == [
        Token("f{a:1}", TOKENIZER.token_id("<tool_call|>"))
    ]


def test_a_call_that_comes_whole_is_one_piece() -> None:
    made = ToolCall("c1", "f", {"a": "é"})
    assert list(CallStream().take(made)) == [
        CallStarted("c1", "f"), CallDelta('{"a": "é"}'), CallEnded(made, '{"a": "é"}'),
    ]  # fmt: skip


def drawn_call(call_id: str = "call_1") -> list[Any]:
    pieces = [("call:wea", 0), ("ther{city:", 0), ("", 1), ("Ro", 1), ('"me', 1), ("", 0)]
    pieces += [(",days:", 0), ("3", 0), ("}", 0)]
    made = [CallText(call_id, text, bool(inside)) for text, inside in pieces]
    return [*made, ToolCall(call_id, "weather", ARGUMENTS)]


WHOLE = [Thought("hm"), Token("Let me look.", 1), *drawn_call(), *drawn_call("call_2")]
CUT = [Token("Let me look.", 1), *drawn_call()[:4], Token('call:weather{city:"Ro', 2)]
TOOL: dict[str, Any] = {"name": "weather", "parameters": {"type": "object"}}
HI: Any = [{"role": "user", "content": "rain?"}]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(ScriptedWorker([WHOLE])) as made:
        yield made


@pytest.fixture(scope="module")
def cut() -> Iterator[httpx2.Client]:
    with served(ScriptedWorker([CUT])) as made:
        yield made


def test_chat_completions_stream_the_arguments(client: httpx2.Client, cut: httpx2.Client) -> None:
    body = {"messages": HI, "tools": [{"type": "function", "function": TOOL}]}
    deltas = [c["choices"][0]["delta"] for c in chunks(client, body) if c != "[DONE]"]
    calls = [one for delta in deltas for one in delta.get("tool_calls", [])]
    assert [one["index"] for one in calls if "id" in one] == [0, 1]
    first = [one["function"] for one in calls if one["index"] == 0]
    assert first[0] == {"name": "weather", "arguments": ""} and len(first) > 4
    assert json.loads("".join(one["arguments"] for one in first)) == ARGUMENTS
    *some, last, _ = chunks(cut, body)
    assert last["choices"][0]["finish_reason"] == "stop"
    content = "".join(c["choices"][0]["delta"].get("content") or "" for c in some)
    assert content == "Let me look."  # the call is there already, as far as it goes
    whole = cut.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert whole["content"].endswith('call:weather{city:"Ro') and "tool_calls" not in whole


def test_openai_puts_the_pieces_together(client: httpx2.Client) -> None:
    tool: Any = {"type": "function", "function": {**TOOL, "strict": True}}
    with (
        openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as made,
        made.chat.completions.stream(model="m", messages=HI, tools=[tool]) as stream,
    ):
        seen = [event for event in stream]
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [one.function.parsed_arguments for one in calls] == [ARGUMENTS, ARGUMENTS]
    kinds = [event.type for event in seen]
    assert kinds.count("tool_calls.function.arguments.delta") > 8


def test_responses_stream_the_arguments(client: httpx2.Client, cut: httpx2.Client) -> None:
    tool: Any = {"type": "function", **TOOL}

    def streamed(server: httpx2.Client) -> list[Any]:
        with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none") as made:
            return [*made.responses.create(model="m", input=HI, tools=[tool], stream=True)]

    seen = streamed(client)
    deltas = [e for e in seen if e.type == "response.function_call_arguments.delta"]
    first = [e.delta for e in deltas if e.item_id == deltas[0].item_id]
    assert len(first) > 4 and json.loads("".join(first)) == ARGUMENTS
    calls = [one for one in seen[-1].response.output if one.type == "function_call"]
    assert [(one.call_id, one.status) for one in calls] == [
        ("call_1", "completed"), ("call_2", "completed"),
    ]  # fmt: skip
    assert calls[0].arguments == "".join(first)
    broken = streamed(cut)[-1].response.output[-1]
    assert (broken.type, broken.status, broken.arguments) == (
        "function_call", "incomplete", '{"city":"Ro',
    )  # fmt: skip
    asked = {"model": "m", "input": HI, "tools": [tool]}
    whole = cut.post("/v1/responses", json=asked).json()["output"]
    assert [item["content"][0]["text"] for item in whole] == [
        "Let me look.", 'call:weather{city:"Ro',
    ]  # fmt: skip


def test_messages_stream_the_arguments(client: httpx2.Client, cut: httpx2.Client) -> None:
    tool: Any = {"name": "weather", "input_schema": {"type": "object"}}
    asked: Any = {"model": "m", "max_tokens": 99, "messages": HI, "tools": [tool]}

    def streamed(server: httpx2.Client) -> tuple[list[Any], Any]:
        with anthropic.Anthropic(base_url=str(server.base_url), api_key="none") as claude:
            with claude.messages.stream(**asked) as stream:
                return [event for event in stream], stream.get_final_message()

    seen, message = streamed(client)
    assert [one.input for one in message.content if one.type == "tool_use"] == [ARGUMENTS] * 2
    assert message.stop_reason == "tool_use"
    pieces = [event.partial_json for event in seen if event.type == "input_json"]
    assert len(pieces) > 8
    assert streamed(cut)[1].stop_reason == "end_turn"
    whole = cut.post("/v1/messages", json=asked).json()["content"]
    assert [block["type"] for block in whole] == [
        "text",
        "text",
    ]  # nothing that could be carried out


def test_realtime_streams_the_arguments() -> None:
    worker = ScriptedWorker([drawn_call(), CUT])
    with served(worker) as client, realtime(client) as one:
        one.update(output_modalities=["text"], tools=[{"type": "function", **TOOL}])
        one.item({"type": "input_text", "text": "rain?"})
        one.send("response.create")
        done = one.until("response.done")["response"]
        deltas = [e["delta"] for e in one.events if e["type"].endswith("arguments.delta")]
        assert len(deltas) > 4 and json.loads("".join(deltas)) == ARGUMENTS
        assert done["output"][0]["arguments"] == "".join(deltas)
        item = {"type": "function_call_output", "call_id": "call_1", "output": "sun"}
        one.send("conversation.item.create", item=item)
        one.send("response.create")
        said, broken = one.until("response.done")["response"]["output"]
        assert said["content"][0]["text"] == "Let me look."
        assert (broken["status"], broken["arguments"]) == ("incomplete", '{"city":"Ro')
