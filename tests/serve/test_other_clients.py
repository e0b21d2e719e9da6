"""Requests as other programs write them: other orders, shapes and values for the same thing."""

import base64
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from mlx_gemma4.chat.messages import ImagePart, SoundPart
from mlx_gemma4.chat.tools import declaration
from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.commands import AddText, AddToolResult, Open, Reply
from mlx_gemma4.serve.tool_schema import MOST, shown
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import DIGITS, RECEIPT, base64_of, served

USER = {"role": "user", "content": "hi"}
CHATS, ANSWERS, TALKS = "/v1/chat/completions", "/v1/responses", "/v1/messages"
WORKER = ScriptedWorker(["Yes."])


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(WORKER) as made:
        yield made


def opened(client: httpx2.Client, route: str, body: dict[str, Any]) -> Open:
    """What the worker is opened with for a request that must succeed."""
    answer = client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    return [command for command in WORKER.accepted if isinstance(command, Open)][-1]


def replied() -> Reply:
    return [command for command in WORKER.accepted if isinstance(command, Reply)][-1]


def texts(asked: Open) -> list[tuple[str, list[str]]]:
    return [
        (turn.role, [part.text for part in turn.parts if isinstance(part, AddText)])
        for turn in asked.turns
    ]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHATS, {"messages": [{"role": "system", "content": "hi"}]}),
        (CHATS, {"messages": [{"role": "user", "content": ["hi"]}]}),
        (CHATS, {"messages": [{"content": [{"text": "hi", "type": "text"}], "role": "user"}]}),
        (CHATS, {"messages": [{"role": "user", "content": {"type": "input_text", "text": "hi"}}]}),
        (CHATS[3:], {"messages": [USER]}),
        (f"/v1{CHATS}", {"messages": [USER]}),
        (f"/{CHATS}/", {"messages": [USER]}),
        (f"//{TALKS}//", {"messages": [USER]}),
        (ANSWERS, {"input": "hi"}),
        (ANSWERS, {"input": [{"type": None, "role": "user", "content": "hi"}]}),
        (ANSWERS, {"input": [{"role": "developer", "content": "hi"}]}),
        (TALKS, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
        (TALKS, {"messages": [{"role": "system", "content": "hi"}]}),
    ],
)
def test_one_question_in_each_of_its_shapes_is_the_same(
    client: httpx2.Client, route: str, body: dict[str, Any]
) -> None:
    assert texts(opened(client, route, body)) == [("user", ["hi"])]


PNG = RECEIPT.read_bytes() + b"\x00" * (4 - RECEIPT.stat().st_size % 3)  # not whole threes
BASE64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [BASE64, BASE64.rstrip("="), base64.urlsafe_b64encode(PNG).decode(), f"\n {BASE64}\r\n",
     "\r\n".join(textwrap.wrap(BASE64, 77)), BASE64.replace("+", "%2B").replace("=", "%3D")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["image_url", "input_image"])
def test_base64_is_read_as_each_language_writes_it(
    client: httpx2.Client, kind: str, text: str
) -> None:
    part = {"type": kind, "image_url": f" data:image/png;base64,{text}"}
    for route, name in ((CHATS, "messages"), (ANSWERS, "input")):
        (turn,) = opened(client, route, {name: [{"role": "user", "content": [part]}]}).turns
        (found,) = turn.parts
        assert isinstance(found, ImagePart) and found.picture.original == (288, 480)


def test_a_compressed_body_is_refused_before_it_is_read(client: httpx2.Client) -> None:
    answer = client.post(CHATS, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415 and "gzip" in answer.json()["error"]["message"]


def test_a_route_that_is_not_there_is_named(client: httpx2.Client) -> None:
    answer = client.post("/v1/completions", json={})
    assert answer.status_code == 404
    assert "POST /v1/completions" in answer.json()["error"]["message"]


def test_one_request_asks_for_another_protocol_and_is_answered_in_this(
    client: httpx2.Client,
) -> None:
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}
    answer = client.post(CHATS, json={"messages": [USER]}, headers=upgrade)
    assert answer.json()["choices"][0]["message"]["content"] == "Yes."


CHAT_NULLS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stream", "stream_options",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "n", "stop", "seed",
    "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "user",
    "reasoning_effort", "metadata", "modalities", "model", "store", "service_tier", "thinking",
)  # fmt: skip
RESPONSE_NULLS = (
    "instructions", "tools", "tool_choice", "text", "reasoning", "include", "max_output_tokens",
    "metadata", "previous_response_id", "store", "stream", "temperature", "top_p", "truncation",
    "background", "conversation", "prompt", "parallel_tool_calls", "top_logprobs", "model",
)  # fmt: skip
MESSAGE_NULLS = (
    "system", "temperature", "top_k", "top_p", "stop_sequences", "tools", "tool_choice",
    "thinking", "metadata", "stream", "output_config", "container", "mcp_servers", "max_tokens",
)  # fmt: skip
TOOL: dict[str, Any] = {"name": "f", "description": None, "strict": None}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHATS, {"messages": [USER], **dict.fromkeys(CHAT_NULLS)}),
        (CHATS, {"messages": [USER], "response_format": {"type": None}}),
        (CHATS, {"messages": [USER], "tools": [{"type": None, "function": {**TOOL}}]}),
        (CHATS, {"messages": [{**USER, "name": None, "tool_calls": None}]}),
        (ANSWERS, {"input": "hi", **dict.fromkeys(RESPONSE_NULLS)}),
        (ANSWERS, {"input": "hi", "text": {"format": {"type": None}, "verbosity": None}}),
        (ANSWERS, {"input": "hi", "tools": [{"type": "function", **TOOL, "parameters": None}]}),
        (TALKS, {"messages": [USER], **dict.fromkeys(MESSAGE_NULLS)}),
        (TALKS, {"messages": [USER], "thinking": {"type": None}, "tool_choice": {"type": None}}),
        (TALKS, {"messages": [USER], "tools": [{"type": None, **TOOL, "input_schema": {}}]}),
    ],
)
def test_null_is_the_same_as_nothing(
    client: httpx2.Client, route: str, body: dict[str, Any]
) -> None:
    assert texts(opened(client, route, body)) == [("user", ["hi"])]


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ({"max_tokens": 10.0, "seed": 3.0}, {"max_tokens": 10, "seed": 3}),
        ({"max_tokens": -1, "top_k": -1}, {"max_tokens": None, "top_k": 0}),
        ({"max_tokens": 2**53 - 1}, {"max_tokens": 2**31}),
        ({"temperature": 1, "top_p": 1}, {"temperature": 1.0, "top_p": 1.0}),
    ],
)
def test_numbers_as_other_programs_write_them(
    client: httpx2.Client, given: dict[str, Any], drawn: dict[str, Any]
) -> None:
    opened(client, CHATS, {"messages": [USER], **given})
    assert {name: getattr(replied(), name) for name in drawn} == drawn


@pytest.mark.parametrize(
    ("given", "thinks"),
    [
        ({"thinking": {"type": "enabled"}}, True), ({"enable_thinking": True}, True),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}, "enable_thinking": True}, False),
        ({"reasoning_effort": "low"}, True), ({}, False),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_in_the_ways_of_other_servers(
    client: httpx2.Client, given: dict[str, Any], thinks: bool
) -> None:
    assert opened(client, CHATS, {"messages": [USER], **given}).settings.thinking is thinks


def test_a_schema_beside_json_object_is_kept_to(client: httpx2.Client) -> None:
    schema = {"enum": ["a", "b"]}
    shape = {"type": "json_object", "schema": schema}
    opened(client, CHATS, {"messages": [USER], "response_format": shape})
    assert replied().grammar == schema


def called(function: dict[str, Any], content: Any = "r") -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", **function}}
    return [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": content},
    ]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ({"arguments": '{"a": 1}'}, {"a": 1}), ({"arguments": {"a": 1}}, {"a": 1}),
        ({"arguments": ""}, {}), ({"arguments": " "}, {}), ({"arguments": None}, {}), ({}, {}),
        ({"arguments": '{"a": '}, {"malformed": '{"a": '}),
        ({"arguments": '"{"'}, {"malformed": '"{"'}),
    ],
)  # fmt: skip
def test_a_call_comes_back_whatever_its_arguments_are(
    client: httpx2.Client, arguments: dict[str, Any], read: dict[str, Any]
) -> None:
    turns = opened(client, CHATS, {"messages": called(arguments)}).turns
    assert turns[1].parts == (ToolCall("c1", "f", read),)


@pytest.mark.parametrize("content", ["r", ["r"], [{"type": "text", "text": "r"}]])
def test_a_result_comes_as_a_text_or_in_parts(client: httpx2.Client, content: Any) -> None:
    (result,) = opened(client, CHATS, {"messages": called({}, content)}).turns[2].parts
    assert isinstance(result, AddToolResult) and result.content == "r"


def talk(*blocks: dict[str, Any]) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    return {"messages": [USER, {"role": "assistant", "content": [use]},
                         {"role": "user", "content": [*blocks]}]}  # fmt: skip


@pytest.mark.parametrize(
    ("block", "content"),
    [
        ({"content": "gone", "is_error": True}, "Error:\ngone"), ({"is_error": True}, "Error:"),
        ({"content": "here", "is_error": False}, "here"), ({}, ""), ({"content": []}, ""),
    ],
)  # fmt: skip
def test_a_result_that_is_an_error_is_one_for_the_model(
    client: httpx2.Client, block: dict[str, Any], content: str
) -> None:
    body = talk({"type": "tool_result", "tool_use_id": "t", **block})
    (result,) = opened(client, TALKS, body).turns[2].parts
    assert isinstance(result, AddToolResult) and result.content == content


@pytest.mark.parametrize(
    "source",
    [
        {"type": "text", "media_type": "text/plain", "data": "body"},
        {"type": "content", "content": "body"},
        {"type": "content", "content": [{"type": "text", "text": "body"}]},
    ],
)
def test_a_document_has_its_title_and_what_is_known_of_it(
    client: httpx2.Client, source: dict[str, Any]
) -> None:
    block = {"type": "document", "title": "T", "context": "old", "source": source}
    body = {"messages": [{"role": "user", "content": [block]}]}
    assert texts(opened(client, TALKS, body)) == [("user", ["T\nold\nbody"])]


def wrapped(text: str) -> str:
    return "\n".join(text[at : at + 76] for at in range(0, len(text), 76))


PLAIN = base64_of(RECEIPT)


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{PLAIN}", f"data:;base64,{PLAIN}", f"DATA:image/jpg;BASE64,{PLAIN}",
        f"data:application/octet-stream;name=a;base64,{PLAIN}",
        f"data:image/png;base64,{wrapped(PLAIN)}",
        f"data:image/png;base64,{PLAIN.replace('+', '%2B').replace('/', '%2F')}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_text", [True, False])
def test_a_picture_comes_in_each_form_of_a_data_uri(
    client: httpx2.Client, url: str, as_text: bool
) -> None:
    part = {"type": "image_url", "image_url": url if as_text else {"url": url, "detail": None}}
    asked = opened(client, CHATS, {"messages": [{"role": "user", "content": [part]}]})
    assert [type(part) for part in asked.turns[0].parts] == [ImagePart]


@pytest.mark.parametrize("form", ["wav", "mp3", None])
@pytest.mark.parametrize("before", ["", "data:audio/wav;base64,"])
def test_a_sound_comes_as_base64_or_as_a_data_uri(
    client: httpx2.Client, form: str | None, before: str
) -> None:
    sound = {"data": before + wrapped(base64_of(DIGITS)), "format": form}  # by its content
    part = {"type": "input_audio", "input_audio": sound}
    asked = opened(client, CHATS, {"messages": [{"role": "user", "content": [part]}]})
    assert [type(part) for part in asked.turns[0].parts] == [SoundPart]


def test_what_is_no_base64_is_refused(client: httpx2.Client) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "no!", "format": "wav"}}
    answer = client.post(CHATS, json={"messages": [{"role": "user", "content": [part]}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0].input_audio.data"


def test_the_parameters_of_a_tool_are_shown_with_what_they_refer_to() -> None:
    place = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "in": {"$ref": "#/$defs/p"}},
    }
    parameters = {
        "type": "object",
        "$defs": {"p": place},
        "properties": {
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"},
            "either": {"oneOf": [{"type": "integer"}, {"type": ["number", "string"]}]},
            "where": {"$ref": "#/$defs/p"},
            "many": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/p"}]}},
            "kind": {"const": "a", "type": "string"},
            "any": True,
        },
    }
    properties = shown(parameters)["properties"]
    assert properties["maybe"] == {"description": "d", "nullable": True, "type": "string"}
    assert properties["either"]["type"] == ["integer", "number", "string"]
    assert properties["where"]["properties"]["x"] == {"type": "integer"}
    assert properties["where"]["properties"]["in"] == {"type": "object"}  # itself again
    assert properties["many"]["items"]["properties"]["x"] == {"type": "integer"}
    assert properties["kind"]["enum"] == ["a"] and properties["any"] == {}
    written = declaration({"function": {"name": "f", "parameters": shown(parameters)}})
    assert "$ref" not in written and "anyOf" not in written


def test_parameters_that_refer_to_themselves_in_many_ways_end() -> None:
    many = {f"p{n}": {"$ref": f"#/$defs/d{n}"} for n in range(30)}
    defs = {f"d{n}": {"type": "object", "properties": many} for n in range(30)}
    assert len(str(shown({"$defs": defs, "properties": many}))) < 200 * MOST


@pytest.mark.parametrize("route", [CHATS, TALKS])
def test_a_result_without_its_call_names_the_messages(server: httpx2.Client, route: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "gone", "content": "r"}
    message = {"role": "tool", "tool_call_id": "gone", "content": "r"}
    last = message if route == CHATS else {"role": "user", "content": [block]}
    answer = server.post(route, json={"messages": [USER, last], "max_tokens": 2})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "messages"


@pytest.mark.parametrize("name", ["two words", "a{b", "", None, 5])
def test_a_tool_whose_calls_could_not_be_read_is_refused(client: httpx2.Client, name: Any) -> None:
    tool = {"type": "function", "function": {"name": name}}
    answer = client.post(CHATS, json={"messages": [USER], "tools": [tool]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools[0].function.name"
