"""Responses and Realtime where the context is full: the oldest questions go, never the open one."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from mlx_gemma4.runtime.commands import SessionSettings
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions
from tests.realtime.calling import Call, call
from tests.serve.serving import ASSETS, served

SETTINGS = SessionSettings(context=600)
OLD = [("user", "words " * 30), ("assistant", "more " * 30)] * 2
CALLED = {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"q": "x"}'}
TOOL = {"type": "function", "name": "find", "description": "d", "parameters": {"type": "object"}}
LONG, TOO_LONG = "word " * 130, "word " * 300


@pytest.fixture(scope="module")
def short() -> Iterator[httpx2.Client]:
    """A client of a server whose context has 600 rows."""
    options = EngineOptions(str(ASSETS / "tiny"), settings=SETTINGS)
    with served(SubprocessWorker(), options) as client:
        yield client


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return {"type": "message", "role": role, "content": content}


def output(text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c1", "output": text}


def tokens(client: httpx2.Client, items: list[dict[str, Any]], truncation: str) -> Any:
    """The tokens that were read for a response, or the code of the error."""
    body = {"input": items, "instructions": "Be brief.", "tools": [TOOL], "max_output_tokens": 4}
    answer = client.post("/v1/responses", json={**body, "truncation": truncation}).json()
    if answer.get("error"):
        return answer["error"]["code"]
    return answer["usage"]["input_tokens"]


@pytest.mark.parametrize(
    "open_items",
    [[message("user", LONG)], [message("user", "find it"), CALLED, output(LONG)]],
    ids=["question", "result"],
)
def test_a_response_is_about_the_whole_question_without_the_turns_before_it(
    short: httpx2.Client, open_items: list[dict[str, Any]]
) -> None:
    alone = tokens(short, open_items, "disabled")
    assert alone > 400
    assert tokens(short, open_items, "auto") == alone
    before = [message(*one) for one in OLD]
    assert tokens(short, [*before, *open_items], "auto") == alone
    assert tokens(short, [*before, *open_items], "disabled") == "context_length_exceeded"


@pytest.mark.parametrize("before", [[], OLD])
def test_what_does_not_fit_alone_is_an_error(
    short: httpx2.Client, before: list[tuple[str, str]]
) -> None:
    items = [*(message(*one) for one in before), message("user", TOO_LONG)]
    assert tokens(short, items, "auto") == "context_length_exceeded"


def answered(one: Call) -> dict[str, Any]:
    one.send("response.create", response={"max_output_tokens": 4})
    return one.until("response.done")["response"]


def test_so_it_is_in_realtime(short: httpx2.Client) -> None:
    def item(made: dict[str, Any]) -> None:
        one.send("conversation.item.create", item=made)
        assert one.until("conversation.item.done")["type"] != "error"

    def alone(*items: dict[str, Any]) -> int:
        with call(short) as other:
            other.update(output_modalities=["text"], tools=[TOOL])
            for made in items:
                other.send("conversation.item.create", item=made)
            return answered(other)["usage"]["input_tokens"]

    question, asked = message("user", LONG), message("user", "find it")
    with call(short) as one:
        one.update(output_modalities=["text"], tools=[TOOL])
        for role, text in OLD:
            item(message(role, text))
        item(question)
        assert answered(one)["usage"]["input_tokens"] == alone(question) > 400
    with call(short) as one:
        one.update(output_modalities=["text"], tools=[TOOL])
        for made in (*(message(*old) for old in OLD), asked, CALLED, output(LONG)):
            item(made)
        assert answered(one)["usage"]["input_tokens"] == alone(asked, CALLED, output(LONG)) > 400
        item(message("user", TOO_LONG))
        failed = answered(one)
        assert failed["status"] == "failed"
        assert "context" in failed["status_details"]["error"]["code"]
