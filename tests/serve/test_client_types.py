"""Answers and events are of the types that the clients' own packages declare, field by field."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mlx_gemma4.events import Event, Thought, Token, ToolCall
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import served

CALL = ToolCall("call_1", "ls", {"a": 1})
REPLIES: list[list[Event]] = [
    [Thought("hm"), Token("Yes", 1), Token(" sir", 2)],
    [Thought("hm"), CALL],
    [Token("ok", 1), CALL, ToolCall("call_2", "ls", {})],
    [],
    [Token("a", 1)] * 5,  # more than may be drawn
]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"name": "ls", "parameters": PARAMETERS}
HI = [{"role": "user", "content": "hi"}]
DIALECTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "/v1/chat/completions": (ChatCompletion, ChatCompletionChunk, {
        "messages": HI, "tools": [{"type": "function", "function": TOOL}], "max_tokens": 4,
        "stream_options": {"include_usage": True}}),
    "/v1/responses": (Response, ResponseStreamEvent, {
        "input": "hi", "tools": [{"type": "function", **TOOL}], "max_output_tokens": 4}),
    "/v1/messages": (Message, RawMessageStreamEvent, {
        "messages": HI, "tools": [{"name": "ls", "input_schema": PARAMETERS}], "max_tokens": 4}),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(ScriptedWorker(REPLIES)) as made:
        yield made


@pytest.mark.parametrize("route", DIALECTS)
def test_answers_have_every_field_that_a_client_declares(client: httpx2.Client, route: str) -> None:
    *types, body = DIALECTS[route]
    whole, event = map(TypeAdapter, types)  # takes long: once
    for _ in REPLIES:
        answer = client.post(route, json=body)
        whole.validate_python(answer.json(), strict=True)
    for _ in REPLIES:
        lines = client.post(route, json={**body, "stream": True}).text.splitlines()
        texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
        events = [one for one in map(json.loads, texts) if one.get("type") != "ping"]
        assert events
        for one in events:
            event.validate_python(one, strict=True)


def test_models_have_every_field_that_a_client_declares(client: httpx2.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    TypeAdapter(Model).validate_python(model, strict=True)
