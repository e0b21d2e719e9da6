"""What a request asks for is done or refused by its field; nothing that matters is dropped."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic.types import message_create_params
from anthropic.types.beta import message_create_params as beta_params
from openai.types.audio import transcription_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from mlx_gemma4.runtime.commands import Open, Reply, SessionSettings
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.serve.request_fields import (
    CHAT,
    MESSAGES,
    RESPONSES,
    TRANSCRIPTIONS,
    UNSUPPORTED,
    RequestFields,
)
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import ASSETS, DIGITS, served

HI = [{"role": "user", "content": "hi"}]
CHATS, ANSWERS, TALKS = "/v1/chat/completions", "/v1/responses", "/v1/messages"
LEAST: dict[str, dict[str, Any]] = {
    CHATS: {"messages": HI},
    ANSWERS: {"input": "hi"},
    TALKS: {"messages": HI, "max_tokens": 9},
}


@pytest.fixture(scope="module")
def worker() -> ScriptedWorker:
    return ScriptedWorker(["Yes."])


@pytest.fixture(scope="module")
def client(worker: ScriptedWorker) -> Iterator[httpx2.Client]:
    with served(worker) as made:
        yield made


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        (CHAT, completion_create_params.CompletionCreateParamsBase),
        (RESPONSES, response_create_params.ResponseCreateParamsBase),
        (MESSAGES, message_create_params.MessageCreateParamsBase),
        (MESSAGES, beta_params.MessageCreateParamsBase),
        (TRANSCRIPTIONS, transcription_create_params.TranscriptionCreateParamsBase),
    ],
)
def test_each_field_that_a_published_client_sends_is_read_refused_or_known_to_be_unused(
    fields: RequestFields, published: Any
) -> None:
    known = {*fields.read, *fields.refused, *fields.unused, *UNSUPPORTED}
    assert not (published.__required_keys__ | published.__optional_keys__) - known


@pytest.mark.parametrize(
    ("route", "name", "value"),
    [
        (CHATS, "logprobs", 3), (CHATS, "top_logprobs", 3), (CHATS, "logit_bias", {"5": 1}),
        (CHATS, "frequency_penalty", 2.5), (CHATS, "presence_penalty", "1"), (CHATS, "min_p", 0.1),
        (CHATS, "repetition_penalty", 1.1), (CHATS, "ignore_eos", True), (CHATS, "best_of", 2),
        (CHATS, "functions", [{"name": "f"}]), (CHATS, "audio", {"voice": "ash"}),
        (CHATS, "modalities", ["audio"]), (CHATS, "modalities", 5), (CHATS, "verbosity", "low"),
        (CHATS, "max_output_tokens", 9), (CHATS, "stop_sequences", ["x"]),
        (CHATS, "chat_template_kwargs", "no"), (CHATS, "n", 9), (CHATS, "top_p", 2),
        (ANSWERS, "top_logprobs", 21), (ANSWERS, "background", True), (ANSWERS, "n", 2),
        (ANSWERS, "previous_response_id", "resp_1"), (ANSWERS, "conversation", "conv_1"),
        (ANSWERS, "logprobs", True), (ANSWERS, "max_tokens", 9), (TALKS, "presence_penalty", 3),
        (ANSWERS, "truncation", "middle"), (ANSWERS, "response_format", {"type": "json_object"}),
        (ANSWERS, "text", {"verbosity": "high"}), (ANSWERS, "prompt", {"id": "p"}),
        (ANSWERS, "tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": []}),
        (ANSWERS, "tool_choice", {"type": "allowed_tools", "tools": 5}),
        (ANSWERS, "tool_choice", {"type": "allowed_tools", "tools": [{"name": []}]}),
        (ANSWERS, "tool_choice", {"type": "web_search_preview"}),
        (ANSWERS, "context_management", [{"type": "compaction"}]),
        (TALKS, "mcp_servers", [{"url": "x"}]), (TALKS, "container", "c"), (TALKS, "stop", ["x"]),
        (TALKS, "thinking", {"type": "deep"}), (TALKS, "logprobs", True),
        (TALKS, "response_format", {"type": "json_object"}), (TALKS, "tool_choice", {"type": "x"}),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_and_cannot_be_done_is_refused_by_its_field(
    client: httpx2.Client, route: str, name: str, value: Any
) -> None:
    answer = client.post(route, json={**LEAST[route], name: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].split(".")[0] == name


@pytest.mark.parametrize("route", LEAST)
def test_values_that_ask_for_nothing_and_fields_that_nobody_knows_are_let_pass(
    client: httpx2.Client, route: str
) -> None:
    nothing = {"logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "n": 1}
    nothing |= {"logit_bias": {}, "stop_token_ids": [], "min_p": None, "repetition_penalty": 1.0}
    others = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "x": 1}
    answer = client.post(route, json={**LEAST[route], **nothing, **others})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", LEAST)
def test_how_a_reply_is_drawn_reaches_the_worker_in_every_dialect(
    client: httpx2.Client, worker: ScriptedWorker, route: str
) -> None:
    stop = "stop_sequences" if route == TALKS else "stop"
    drawn = {"temperature": 0.5, "top_p": 0, "top_k": 7, "seed": -1, stop: ["x", "y"]}
    drawn |= {"presence_penalty": -1, "frequency_penalty": 0.5}
    assert client.post(route, json={**LEAST[route], **drawn}).status_code == 200
    reply = [command for command in worker.accepted if isinstance(command, Reply)][-1]
    assert (reply.temperature, reply.top_k, reply.seed) == (0.5, 7, 2**64 - 1)
    assert reply.top_p is not None and 0 < reply.top_p < 1e-3
    assert reply.stop == ("x", "y")
    assert (reply.presence, reply.frequency, reply.likeliest) == (-1, 0.5, None)


def test_a_strict_tool_is_strict_in_every_dialect(
    client: httpx2.Client, worker: ScriptedWorker
) -> None:
    inner = {"name": "f", "strict": True, "parameters": {"type": "object"}}
    written: dict[str, Any] = {
        CHATS: {"type": "function", "function": inner},
        ANSWERS: {"type": "function", **inner},
        TALKS: {"name": "f", "strict": True, "input_schema": {"type": "object"}},
    }
    for route, tool in written.items():
        assert client.post(route, json={**LEAST[route], "tools": [tool]}).status_code == 200
        opened = [command for command in worker.accepted if isinstance(command, Open)][-1]
        assert opened.tools[0]["function"]["strict"] is True


@pytest.mark.parametrize("route", [CHATS, ANSWERS])
def test_of_the_tools_those_that_are_allowed_are_declared(
    client: httpx2.Client, worker: ScriptedWorker, route: str
) -> None:
    def tool(name: str) -> dict[str, Any]:
        inner = {"name": name}
        return {"type": "function", **({"function": inner} if route == CHATS else inner)}

    def ask(mode: str, *names: str) -> httpx2.Response:
        inner = {"mode": mode, "tools": [tool(name) for name in names]}
        choice = {"allowed_tools": inner} if route == CHATS else inner
        body = {"tools": [tool("f"), tool("g")], "tool_choice": {"type": "allowed_tools", **choice}}
        return client.post(route, json=LEAST[route] | body)

    assert ask("auto", "g").status_code == 200
    opened = [command for command in worker.accepted if isinstance(command, Open)][-1]
    assert [one["function"]["name"] for one in opened.tools] == ["g"]
    for refused in (ask("auto", "g", "h"), ask("auto"), ask("any", "g")):
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].startswith("tool_choice.")


def test_a_response_leaves_out_the_oldest_turns_where_that_is_wanted(
    client: httpx2.Client, worker: ScriptedWorker
) -> None:
    for truncation, when_full in (("auto", "drop"), ("disabled", "stop")):
        client.post(ANSWERS, json={"input": "hi", "truncation": truncation})
        opened = [command for command in worker.accepted if isinstance(command, Open)][-1]
        assert opened.settings.when_full == when_full


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[1].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[1].audio"),
    ],
)
def test_a_message_with_what_cannot_be_read_is_refused(
    client: httpx2.Client, message: dict[str, Any], param: str
) -> None:
    answer = client.post(CHATS, json={"messages": [*HI, message, *HI]})
    assert answer.json()["error"]["param"] == param


def test_half_of_a_letter_is_replaced_wherever_it_stands(client: httpx2.Client) -> None:
    body = '{"input": "hi", "instructions": "be kind \\ud83d", "metadata": {"a": "\\ud83d\\ude00"}}'
    answer = client.post(ANSWERS, content=body)
    assert answer.status_code == 200
    assert answer.json()["instructions"] == "be kind \ufffd"
    assert answer.json()["metadata"] == {"a": "\U0001f600"}


def test_citations_are_refused(client: httpx2.Client) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "x"}
    block = {"type": "document", "source": source, "citations": {"enabled": True}}
    answer = client.post(TALKS, json={"messages": [{"role": "user", "content": [block]}]})
    assert answer.json()["error"]["param"] == "messages[0].content[0].citations"


def test_a_transcription_is_not_thought_about() -> None:
    options = EngineOptions(str(ASSETS / "tiny"), settings=SessionSettings(thinking=True))
    with ScriptedWorker(["Yes."]) as worker, served(worker, options) as client:
        files = {"file": DIGITS.read_bytes()}
        assert client.post("/v1/audio/transcriptions", files=files).status_code == 200
        (asked,) = (one for one in worker.accepted if isinstance(one, Open))
        assert not asked.settings.thinking


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"prompt": "names: Suka"}, "prompt"),
        ({"keywords[]": "Suka"}, "keywords"),
        ({"include[]": "logprobs"}, "include"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
        ({"stream": "true"}, "stream"),
        ({"timestamp_granularities[]": ["word", "segment"]}, "timestamp_granularities[]"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"temperature": "warm"}, "temperature"),
    ],
)
def test_a_transcription_refuses_what_it_cannot_do(
    client: httpx2.Client, form: dict[str, Any], param: str
) -> None:
    files = {"file": DIGITS.read_bytes()}
    answer = client.post("/v1/audio/transcriptions", data=form, files=files)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
