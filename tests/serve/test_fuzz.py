"""Malformed requests: 4xx, never 5xx, never a hang."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_gemma4.testing.scripted_worker import ScriptedWorker

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


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in some JSON."""
    yield at
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*at, key))


PLACES = [place for place in places(WHOLE) if place]


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
