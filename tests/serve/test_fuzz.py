"""Malformed requests: 4xx, never 5xx, never a hang; and what `/openapi.json` does not allow."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlx_gemma4.serve.app import make_app
from mlx_gemma4.serve.openapi import description
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.talking import by_hand, types

from .serving import served

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["user", "tool", "auto", "text", "image_url", "data:,x", "json_schema"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CALL = {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
WHOLE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "ls",
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
        }
    ],
    "tool_choice": "auto",
    "temperature": 0.5,
    "max_tokens": 3,
    "stop": ["x"],
    "seed": 1,
    "n": 1,
    "stream": False,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    "reasoning_effort": "low",
}

TOOL = {"name": "ls", "description": "d", "parameters": {"type": "object"}}
IMAGE = "data:image/png;base64,AAAA"
RESPONSE: dict[str, Any] = {
    "model": "m",
    "instructions": "s",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]},
    ],
    "tools": [{"type": "function", **TOOL}],
    "tool_choice": {"type": "function", "name": "ls"},
    "text": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "reasoning": {"effort": "low"},
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "metadata": {},
}
BASE64 = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
MESSAGE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 3,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "tool_use", "id": "c1", "name": "ls", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "a.txt"},
                {"type": "image", "source": BASE64},
            ],
        },
    ],
    "tools": [{"name": "ls", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"},
    "thinking": {"type": "enabled"},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop_sequences": ["x"],
}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in some JSON."""
    yield at
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*at, key))


PLACES = [place for place in places(WHOLE) if place]
OTHERS = [
    (route, body, place)
    for route, body in (("/v1/responses", RESPONSE), ("/v1/messages", MESSAGE))
    for place in places(body)
    if place
]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The same with something else at a place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(copy[place[0]], place[1:], new)
    return copy


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(ScriptedWorker(["Yes."])) as client:
        yield client


@settings(max_examples=1000, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(place=st.sampled_from(PLACES), new=JSON)
def test_a_request_with_anything_anywhere_is_answered_or_refused(
    client: httpx2.Client, place: tuple[Any, ...], new: Any
) -> None:
    body = json.dumps(changed(WHOLE, place, new))
    answer = client.post("/v1/chat/completions", content=body)
    assert 200 <= answer.status_code < 500, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["message"] and error["type"] == "invalid_request_error"


@settings(max_examples=600, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(case=st.sampled_from(OTHERS), new=JSON)
@example(case=("/v1/responses", RESPONSE, ("input", 1, "summary")), new=True)
@example(case=("/v1/responses", RESPONSE, ("text", "format", "schema")), new={"type": -(2**70)})
def test_so_is_one_of_the_other_dialects(
    client: httpx2.Client, case: tuple[str, Any, tuple[Any, ...]], new: Any
) -> None:
    route, body, place = case
    answer = client.post(route, content=json.dumps(changed(body, place, new)))
    assert 200 <= answer.status_code < 500, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["message"] and error["type"] == "invalid_request_error"


DESCRIBED = [
    (path, name, schema)
    for path, item in description()["paths"].items()
    for kind, content in item.get("post", {}).get("requestBody", {}).get("content", {}).items()
    for name, schema in content["schema"]["properties"].items()
    if kind == "application/json" and len(schema) > ("description" in schema)
]


@settings(max_examples=400, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(case=st.sampled_from(DESCRIBED), new=JSON)
def test_what_the_description_does_not_allow_is_refused_by_its_field(
    client: httpx2.Client, case: tuple[str, str, Any], new: Any
) -> None:
    route, name, schema = case
    least = {"input": "hi"} if "responses" in route else {"messages": MESSAGE["messages"][:1]}
    assume(not Draft202012Validator(schema).is_valid(new))
    answer = client.post(route, content=json.dumps({**least, name: new}))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].split(".")[0].split("[")[0] == name


def test_the_description_names_every_route_there_is(client: httpx2.Client) -> None:
    served = client.get("/openapi.json").json()
    assert served == json.loads(json.dumps(description()))
    routes = make_app(client.engine)._app.routes
    assert {*served["paths"]} == {one.path.replace(":path", "") for one in routes} - {"/"}
    for item in served["paths"].values():
        for content in item.get("post", {}).get("requestBody", {}).get("content", {}).values():
            Draft202012Validator.check_schema(content["schema"])


CLIENT_EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "s",
     "tools": [{"type": "function", **TOOL}], "tool_choice": "auto", "max_output_tokens": 3,
     "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.5},
     "format": {"type": "audio/pcm"}, "transcription": {"model": "m"}},
     "output": {"voice": "v", "speed": 1.0}}, "truncation": "auto"}},
    {"type": "input_audio_buffer.append", "audio": "AAAAAAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "conversation.item.create", "previous_item_id": "root", "item": {
     "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"},
     {"type": "input_audio", "audio": "AAAAAAAA"}]}},
    {"type": "conversation.item.create", "item": {
     "type": "function_call_output", "call_id": "c", "output": "x"}},
    {"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 3},
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "response.create", "response": {"instructions": "s", "metadata": {},
     "tools": [], "conversation": "auto", "output_modalities": ["text"]}},
    {"type": "response.cancel", "response_id": "r"},
]  # fmt: skip
EVENT_PLACES = [(event, place) for event in CLIENT_EVENTS for place in places(event)]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(case=st.lists(st.tuples(st.sampled_from(EVENT_PLACES), JSON), min_size=1, max_size=2))
def test_a_realtime_session_survives_any_event(case: list[Any]) -> None:
    talk = by_hand()
    talk.take()
    for (event, place), new in case:
        talk.protocol.receive(changed(event, place, new))
        sent = talk.take()
        assert sent == json.loads(json.dumps(sent))
        assert all(one["error"]["message"] for one in sent if one["type"] == "error")
    assert "session.updated" in types(talk.update())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 100_000, b'{"messages": NaN}', b"\x00",
     b'{"messages": [{"role": "user", "content": "\\ud800"}], "model": "\\ud800"}'],
)  # fmt: skip
def test_what_is_no_request_is_refused(client: httpx2.Client, body: bytes) -> None:
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == (200 if b"ud800" in body else 400), answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("GET", "/v1/nope", 404),
     ("DELETE", "/health", 405), ("GET", "/v1/models/../../etc/passwd", 404)],
)  # fmt: skip
def test_what_is_not_there_is_an_error_of_the_same_form(
    client: httpx2.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
