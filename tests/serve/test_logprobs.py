"""How likely each token of an answer was, and penalties for those that were drawn before."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions

from .serving import asked, chat, events, picture, said, served, text

ASK = "what is the total?"


def scores(answer: dict[str, Any]) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = answer["choices"][0]["logprobs"]["content"]
    return content


@pytest.mark.parametrize("temperature", [0, 1])
def test_each_token_of_an_answer_has_its_probability_and_those_of_the_likeliest(
    server: httpx2.Client, temperature: float
) -> None:
    body = asked(text(ASK), picture(), logprobs=True, top_logprobs=3, temperature=temperature)
    answer = chat(server, {**body, "seed": 3})
    tokens = scores(answer)
    assert b"".join(bytes(one["bytes"]) for one in tokens).decode() == said(answer)
    for one in tokens:
        best = one["top_logprobs"]
        logs = [other["logprob"] for other in best]
        assert len(best) == 3 and logs == sorted(logs, reverse=True)
        assert sum(map(math.exp, logs)) < 1 + 1e-4
        assert one["logprob"] <= best[0]["logprob"] + 1e-6
        if temperature == 0:  # the likeliest is drawn
            assert one["token"] == best[0]["token"]
            assert one["logprob"] == pytest.approx(best[0]["logprob"])


def test_probabilities_are_those_before_temperature_and_the_same_in_a_stream(
    server: httpx2.Client,
) -> None:
    body = asked(text(ASK), picture(), logprobs=True)
    cold, warm = (scores(chat(server, {**body, "temperature": t, "seed": 1})) for t in (0, 0.01))
    assert [one["token"] for one in cold] == [one["token"] for one in warm]
    for one, other in zip(cold, warm, strict=True):
        assert one["top_logprobs"] == []
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
    *chunks, _ = events(server, body)
    choices = [chunk["choices"][0] for chunk in chunks]
    pieces = [one for c in choices for one in (c["logprobs"] or {"content": []})["content"]]
    assert [one["token"] for one in pieces] == [one["token"] for one in cold]
    for choice in choices:
        if choice["logprobs"]:
            said_here = "".join(one["token"] for one in choice["logprobs"]["content"])
            assert choice["delta"].get("content", "") == said_here


def test_what_stopped_an_answer_has_no_probability(server: httpx2.Client) -> None:
    answer = chat(server, asked(text(ASK), picture(), logprobs=True, stop=[".5"]))
    assert said(answer) == "19"
    assert "".join(one["token"] for one in scores(answer)) == "19"


def test_probabilities_of_an_answer_by_a_schema_are_those_of_what_it_allows(
    server: httpx2.Client,
) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["ab", "ac"]}}}
    body = asked(text("go"), response_format=schema, logprobs=True, top_logprobs=2, max_tokens=9)
    answer = chat(server, body)
    assert "".join(one["token"] for one in scores(answer)) == said(answer)
    assert all(one["logprob"] >= -9999 for t in scores(answer) for one in t["top_logprobs"])


def test_responses_have_probabilities_as_the_client_reads_them(server: httpx2.Client) -> None:
    client = openai.OpenAI(base_url=str(server.base_url.join("/v1")), api_key="none")
    url = picture()["image_url"]["url"]
    content = [{"type": "input_text", "text": ASK}, {"type": "input_image", "image_url": url}]
    asking: dict[str, Any] = {"model": "m", "input": [{"role": "user", "content": content}]}
    asking |= {"temperature": 0, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    part = client.responses.create(**asking).output[0].content[0]
    assert "".join(one.token for one in part.logprobs) == part.text == "19.56"
    assert {len(one.top_logprobs) for one in part.logprobs} == {2}
    streamed = [*client.responses.create(**asking, stream=True)]
    deltas = [one for one in streamed if one.type == "response.output_text.delta"]
    assert [t.token for d in deltas for t in d.logprobs] == [one.token for one in part.logprobs]
    (done,) = [one for one in streamed if one.type == "response.output_text.done"]
    assert [one.logprob for one in done.logprobs] == [one.logprob for one in part.logprobs]


@pytest.fixture(scope="module")
def rambling(folder: Path) -> Iterator[httpx2.Client]:
    """A server whose weights are random: it repeats itself."""
    with served(SubprocessWorker(), EngineOptions(str(folder))) as client:
        yield client


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_a_penalty_makes_what_was_drawn_less_likely(rambling: httpx2.Client, name: str) -> None:
    body = asked(text("count"), max_tokens=60, logprobs=True, temperature=0.01, seed=1)

    def distinct(value: float) -> int:
        return len({one["token"] for one in scores(chat(rambling, {**body, name: value}))})

    assert distinct(-2) <= distinct(0) < distinct(2)


def test_counts_that_need_probabilities_are_refused_without_them(server: httpx2.Client) -> None:
    answer = server.post("/v1/chat/completions", json=asked(text("x"), top_logprobs=2))
    assert answer.json()["error"]["param"] == "top_logprobs"
    many = asked(text("x"), logprobs=True, top_logprobs=21)
    assert server.post("/v1/chat/completions", json=many).json()["error"]["param"] == "top_logprobs"
