"""One server before three engines, one of which is killed while twelve clients ask."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from mlx_gemma4.serve.also import EngineHost, Forwarded, Placement, beginnings

CLIENTS, TURNS = 12, 3
GEMMA4 = Path(sys.executable).with_name("gemma4")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[httpx2.Client, int]]:
    """A client of `gemma4 serve --also local,local`, and the id of its process."""
    command = [str(GEMMA4), "serve", "--model", "tiny", "--also", "local,local", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MLX_DISABLE_COMPILE": "1"}
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        with httpx2.Client(base_url=found[0].removesuffix("/v1"), timeout=120) as client:
            yield client, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()


def ask(client: httpx2.Client, messages: list[dict[str, str]]) -> httpx2.Response:
    body = {"model": "tiny", "messages": messages, "max_tokens": 6, "temperature": 0}
    while (response := client.post("/v1/chat/completions", json=body)).status_code == 503:
        pass  # the model is being loaded
    return response


def engines(pid: int) -> list[int]:
    """The processes of the engines."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_an_engine_that_is_killed_costs_no_answer(server: tuple[httpx2.Client, int]) -> None:
    client, pid = server
    children = engines(pid)
    assert len(children) == 3
    ask(client, [{"role": "user", "content": "hello"}])
    halfway = threading.Barrier(CLIENTS, action=lambda: os.killpg(children[1], signal.SIGKILL))

    def converse(number: int) -> list[tuple[list[dict[str, str]], int, str]]:
        messages: list[dict[str, str]] = []
        seen = []
        for turn in range(TURNS):
            if turn == 1:
                halfway.wait(240)
            messages = [*messages, {"role": "user", "content": f"hello {number}, turn {turn}"}]
            response = ask(client, messages)
            answer = response.json()
            if response.status_code != 200:
                seen.append((messages, response.status_code, str(answer["error"]["message"])))
                break
            content = answer["choices"][0]["message"]["content"]
            seen.append((messages, 200, content))
            messages = [*messages, {"role": "assistant", "content": content}]
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        talks = list(pool.map(converse, range(CLIENTS)))
    every = [one for talk in talks for one in talk]
    assert {status for _, status, _ in every} <= {200, 502}
    assert all("lost" in text or "answers" in text for _, status, text in every if status == 502)
    # what was not answered is asked again, and every conversation goes on
    assert all(ask(client, talk[-1][0]).status_code == 200 for talk in talks)
    # no answer is wrong: asked again, elsewhere for a third of them, it is the same
    answered = [(messages, text) for messages, status, text in every if status == 200]
    assert len(answered) >= CLIENTS
    for messages, text in answered[::4]:
        assert ask(client, messages).json()["choices"][0]["message"]["content"] == text
    states = client.get("/health").json()
    assert states["status"] == "ok"
    assert sorted(state == "ok" for state in states["hosts"].values()) == [False, True, True]
    metrics = client.get("/metrics").text
    assert metrics.count("gemma4_host_up") == 4  # a line of its type, and a host each
    assert 'gemma4_host_up{host="this computer"} 1' in metrics


@pytest.mark.parametrize("version", ["2.0", "2.4"])
def test_a_client_that_leaves_before_the_first_event_leaves_nothing_open(version: str) -> None:
    closed: list[bool] = []

    async def events() -> AsyncGenerator[bytes]:
        yield b"never sent"

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise OSError("the client has left")

    async def close() -> None:
        closed.append(True)

    host = EngineHost("one", "")
    host.busy = 1
    response: Any = SimpleNamespace(status_code=200, aclose=close)
    forwarded = Forwarded(host, response, events(), {})
    scope = {"type": "http", "asgi": {"spec_version": version}}
    with suppress(Exception):
        asyncio.run(forwarded(scope, receive, send))
    assert host.busy == 0 and closed == [True]


def test_a_conversation_stays_where_its_beginning_is_and_a_new_one_goes_where_least_is_done() -> (
    None
):
    one, other = EngineHost("one", ""), EngineHost("other", "")
    placement = Placement([one, other])

    def keys(*texts: str, system: str = "s") -> list[str]:
        head: list[dict[str, Any]] = [{"role": "system", "content": system}]
        return beginnings({"messages": head + [{"role": "user", "content": t} for t in texts]})

    one.busy, other.busy = 1, 0
    assert placement.choose(keys("a")) is other
    placement.remember(keys("a"), other)
    other.busy = 5
    assert placement.choose(keys("a", "b")) is other  # its rows are there
    assert placement.choose(keys("a")) is one  # the same question of somebody else
    assert placement.choose(keys("x", "b")) is one
    assert placement.choose(keys("a", "b", system="t")) is one
    other.gone = "gone"
    assert placement.choose(keys("a", "b")) is one
    one.gone = "gone"
    assert placement.choose(keys("a")) is None


def test_beginnings_are_those_of_every_dialect() -> None:
    chat = beginnings({"messages": [{"role": "user", "content": "a"}]})
    assert len(chat) == 1
    assert len(beginnings({"input": "a", "instructions": "i"})) == 1
    assert beginnings({"input": "a"}) != beginnings({"input": "b"})
    longer = beginnings({"system": "s", "messages": [{"role": "user"}, {"role": "assistant"}]})
    assert longer[:1] == beginnings({"system": "s", "messages": [{"role": "user"}]})
    assert longer[:1] != beginnings({"system": "t", "messages": [{"role": "user"}]})
