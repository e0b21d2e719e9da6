"""What a stream has besides its events: signs of life, why it ended, and several replies."""

import json
from typing import Any

import httpx2
import pytest

from mlx_gemma4.serve import routes
from mlx_gemma4.serve.errors import ApiError
from mlx_gemma4.serve.responses import ResponseStream, parse
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import asked, chat, events, picture, served, text

HI: list[Any] = [{"role": "user", "content": "hi"}]
STREAMS = [
    ("/v1/chat/completions", {"messages": HI}, ": alive"),
    ("/v1/responses", {"input": "hi"}, ": alive"),
    ("/v1/messages", {"messages": HI, "max_tokens": 9}, "event: ping"),
]


@pytest.mark.parametrize(("route", "body", "sign"), STREAMS)
def test_a_stream_that_waits_shows_that_it_is_alive(
    monkeypatch: pytest.MonkeyPatch, route: str, body: dict[str, Any], sign: str
) -> None:
    monkeypatch.setattr(routes, "KEEP_ALIVE", 0.05)
    with (
        served(ScriptedWorker(["one two"], tokens_per_second=2)) as client,
        client.stream("POST", route, json={**body, "stream": True}) as stream,
    ):
        lines = [*stream.iter_lines()]
    assert lines.count(sign) > 5
    data = "".join(line for line in lines if line.startswith("data: "))
    assert "one" in data and "two" in data
    if sign.startswith("event"):
        assert lines[lines.index(sign) + 1] == 'data: {"type": "ping"}'


RESULT = {"type": "function_call_output", "call_id": "none", "output": "r"}


def test_an_error_before_the_start_of_a_response_comes_after_it() -> None:
    reply = ResponseStream(parse({"input": "hi", "stream": True}), "tiny")
    failed = reply.failed(ApiError(503, "The worker has stopped."))
    assert [(event["type"], event["sequence_number"]) for event in failed] == [
        ("response.created", 0),
        ("response.in_progress", 1),
        ("response.failed", 2),
    ]
    assert [event["type"] for event in reply.failed(ApiError(503, ""))] == ["response.failed"]


@pytest.mark.parametrize("more", [RESULT, {"role": "assistant", "content": "Yes."}])
def test_an_error_about_the_conversation_names_its_field(
    server: httpx2.Client, more: dict[str, str]
) -> None:
    error = server.post("/v1/responses", json={"input": [*HI, more]}).json()["error"]
    assert error["param"] == "input"


def test_a_message_has_the_text_that_stopped_it(server: httpx2.Client) -> None:
    ask = "what is the total?"
    image = picture()["image_url"]["url"].partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": image}
    content = [{"type": "image", "source": source}, {"type": "text", "text": ask}]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0}
    body |= {"max_tokens": 20, "stop_sequences": ["zzz", ".5"]}
    message = server.post("/v1/messages", json=body).json()
    assert message["content"][0]["text"] == "19"
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", ".5")
    with server.stream("POST", "/v1/messages", json={**body, "stream": True}) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines]
    deltas = [one["delta"] for one in data if one["type"] == "message_delta"]
    assert deltas == [{"stop_reason": "stop_sequence", "stop_sequence": ".5"}]
    message = server.post("/v1/messages", json={**body, "stop_sequences": ["zzz"]}).json()
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


def test_several_replies_come_in_one_stream(server: httpx2.Client) -> None:
    body = asked(text("what is the total?"), picture(), n=2)
    chunks = [chunk for chunk in events(server, body) if chunk != "[DONE]"]
    whole = [choice["message"]["content"] for choice in chat(server, body)["choices"]]
    for index in (0, 1):
        own = [one for chunk in chunks for one in chunk["choices"] if one["index"] == index]
        assert "".join(one["delta"].get("content") or "" for one in own) == whole[index]
        assert own[-1]["finish_reason"] == "stop"
