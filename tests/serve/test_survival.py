"""What a server survives: clients that leave, frames that are too large, a killed worker."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from mlx_gemma4.runtime.commands import Open
from mlx_gemma4.runtime.reports import Idle, Reading
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve import app, routes
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import Call, call

from .serving import ASSETS, asked, chat, served, text, until
from .test_safety import raw, whole

LONG = "word " * 700
"""About 2,100 tokens, some chunks."""


@pytest.fixture(scope="module")
def tiny() -> Iterator[httpx2.Client]:
    """A server of its own: its worker is killed."""
    with served(SubprocessWorker(), EngineOptions(str(ASSETS / "tiny"), slots=1)) as client:
        yield client


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_while_its_prompt_is_read_frees_the_worker_within_a_chunk(
    tiny: httpx2.Client, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Reading] = []
    idle: list[Idle] = []
    take = tiny.engine._take

    def seen(report: Any) -> None:
        if isinstance(report.event, Reading):
            read.append(report.event)
        if isinstance(report.event, Idle):
            idle.append(report.event)
        take(report)

    monkeypatch.setattr(tiny.engine, "_take", seen)
    # not the same text twice: nothing of it is cached
    body = asked(text(f"{stream} {LONG}"), max_tokens=4, stream=stream)
    connection = raw(tiny, whole(body))
    until(lambda: read)
    connection.close()
    until(lambda: tiny.engine.busy == 0)
    last = read[-1]
    assert last.done < last.total
    until(lambda: idle)
    if stream:  # the rest was not read when there was nothing else to do
        details = chat(tiny, {**body, "stream": False})["usage"]["prompt_tokens_details"]
        assert details["cached_tokens"] <= last.done
    assert chat(tiny, asked(text("hello"), max_tokens=2))["usage"]["completion_tokens"] == 2


def test_a_worker_that_is_killed_in_an_answer_is_named_and_started_again(
    tiny: httpx2.Client,
) -> None:
    worker = tiny.engine._worker
    body = asked(text("count"), max_tokens=400, temperature=1, seed=5, stream=True)
    with tiny.stream("POST", "/v1/chat/completions", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        os.kill(worker._process.pid, signal.SIGKILL)
        rest = [line for line in lines if line.startswith("data: ")]
    error = json.loads(rest[-1].removeprefix("data: "))["error"]
    assert error["code"] == "worker_crashed" and "SIGKILL" in error["message"]
    assert chat(tiny, asked(text("hello"), max_tokens=2))["usage"]["completion_tokens"] == 2
    until(lambda: tiny.engine.busy == 0)
    assert "gemma4_worker_restarts_total 1" in tiny.get("/metrics").text


@pytest.mark.parametrize("kind", ["stream", "whole", "messages", "websocket"])
def test_who_leaves_while_waiting_for_a_slot_is_noticed_at_once(kind: str) -> None:
    worker = ScriptedWorker(["word " * 500], tokens_per_second=2)
    with served(worker, EngineOptions("m", slots=1)) as client:
        first = raw(client, whole(asked(text("first"), max_tokens=400)))
        until(lambda: client.engine.busy == 1)
        body = whole(asked(text("second"), stream=kind != "whole"))
        if kind == "messages":
            body = body.replace(b"/v1/chat/completions", b"/v1/messages")
        if kind == "websocket":
            body = (
                b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade:"
            )
            body += b" websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
            body += base64.b64encode(bytes(16)) + b"\r\n\r\n"
        second = raw(client, body)
        until(lambda: client.engine.waiting == 1)
        second.close()
        until(lambda: client.engine.waiting == 0)
        assert client.engine.busy == 1  # the first is still being answered
        first.close()
        until(lambda: client.engine.busy == 0)
        opened = [command for command in worker.accepted if isinstance(command, Open)]
        assert len(opened) == 1


def test_a_stream_begins_while_its_request_waits_and_ends_with_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "KEEP_ALIVE", 0.05)
    worker = ScriptedWorker(["word " * 500, "Yes."], tokens_per_second=2)
    with served(worker, EngineOptions("m", slots=1)) as client:
        first = raw(client, whole(asked(text("first"), max_tokens=400)))
        until(lambda: client.engine.busy == 1)
        body = asked(text("second"), stream=True)
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            assert stream.status_code == 200 and next(lines) == ": alive"
            assert client.engine.waiting == 1
            first.close()
            rest = "".join(lines)
    assert "Yes." in rest and rest.endswith("data: [DONE]")


def closed(one: Call) -> int | None:
    """The code with which the server closes a session; None where more is being sent."""
    with pytest.raises(ConnectionClosed) as end:
        while True:
            one.socket.recv(timeout=60)
    return end.value.rcvd and end.value.rcvd.code


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("pieces", [1, 64])
def test_a_message_that_is_too_large_ends_its_session_alone(
    compression: Any, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MESSAGE_BYTES", 1 << 20)
    size = (4 << 20) // pieces
    with served(ScriptedWorker(["Yes."])) as client:
        with call(client) as other, call(client, compression=compression) as one:
            try:
                one.socket.send("x" * size if pieces == 1 else ("x" * size for _ in range(pieces)))
            except ConnectionClosed:
                pass  # it was closed before all was sent
            assert closed(one) in (1009, None)
            other.send("input_audio_buffer.clear")
            assert other.until("input_audio_buffer.cleared")["type"] != "error"
        until(lambda: client.engine.busy == 0)


def test_headers_that_are_too_large_are_refused() -> None:
    with served(ScriptedWorker(["Yes."])) as client:
        head = "GET /health HTTP/1.1\r\nHost: localhost\r\n"
        for content in (f"{head}X: {'x' * 300_000}\r\n\r\n", f"GET /{'x' * 300_000} HTTP/1.1\r\n"):
            with raw(client, b"") as connection:
                try:
                    connection.sendall(content.encode())
                    answer = connection.recv(99)
                except OSError:
                    answer = b""
                assert answer == b"" or b" 400 " in answer or b" 431 " in answer
        assert client.get("/health").status_code == 200


def test_what_is_no_text_is_an_error_of_the_session() -> None:
    with served(ScriptedWorker(["Yes."])) as client, call(client) as one:
        for message in ("{", "[]", "null", b"\x00\x01", "[" * 100_000):
            one.socket.send(message)
            assert one.until("error")["error"]["message"]
        one.send("session.update", session={"type": "realtime"})
        assert one.until("session.updated")["type"] == "session.updated"
