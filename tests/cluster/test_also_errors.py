"""How one server before several engines fails, and what it leaves when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from starlette.responses import JSONResponse

from mlx_gemma4.serve.also import EngineHost, Router, make_router
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.cluster.test_also import GEMMA4
from tests.serve.serving import running, served

MESSAGE: dict[str, Any] = {
    "model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]
}  # fmt: skip


def before(engine: httpx2.Client) -> Router:
    return Router([EngineHost("mac1", str(engine.base_url).rstrip("/"))])


def test_a_message_whose_mac_is_lost_is_an_error_and_not_whole() -> None:
    worker = ScriptedWorker(["word " * 200], tokens_per_second=1)
    with served(worker) as engine, running(make_router(router := before(engine))) as client:
        claude = anthropic.Anthropic(base_url=str(client.base_url), api_key="none", max_retries=0)
        with claude, claude.messages.create(**MESSAGE, stream=True) as events:
            next(events)
            router.leave(router.hosts[0], "its plug was pulled")
            with pytest.raises(anthropic.APIStatusError, match="mac1 was lost"):
                list(events)
        refused = client.post("/v1/messages", json=MESSAGE).json()
        assert (refused["type"], refused["error"]["code"]) == ("error", "host_lost")


def test_a_body_that_is_too_deep_is_refused_as_an_engine_refuses_it() -> None:
    with (
        served(ScriptedWorker()) as engine,
        running(make_router(before(engine))) as client,
    ):
        deep = "[" * 100_000
        alone, answer = (one.post("/v1/messages", content=deep) for one in (engine, client))
        assert (answer.status_code, answer.json()) == (400, alone.json())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("DELETE", "/v1/responses", 405), ("GET", "/v1/models/a%0Ab", 404)],
)
def test_what_no_engine_is_asked_is_refused_as_an_engine_refuses_it(
    method: str, path: str, status: int
) -> None:
    with running(make_router(Router([]))) as client:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, "not_found")


def test_many_requests_at_once_lose_no_mac() -> None:
    asked = 0

    async def engine(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] == "http":
            asked += scope["path"] != "/health"
            while scope["path"] != "/health" and asked < 110:
                await asyncio.sleep(0.01)
            await JSONResponse({"status": "ok"})(scope, receive, send)

    with running(engine) as there, running(make_router(router := before(there))) as client:
        limits = httpx2.Limits(max_connections=None)
        with (
            httpx2.Client(base_url=client.base_url, timeout=60, limits=limits) as asking,
            ThreadPoolExecutor(110) as pool,
        ):
            path = "/v1/chat/completions"
            answers = [*pool.map(lambda n: asking.post(path, json={"n": n}), range(110))]
    assert {answer.status_code for answer in answers} == {200} and not router.hosts[0].gone


SSH = """#!{python}
import os, pathlib, socket, sys
if "-N" in sys.argv:
    port = sys.argv[sys.argv.index("-L") + 1].split(":")[1]
    server = socket.create_server(("127.0.0.1", int(port)))
    pathlib.Path({noted!r}).write_text(str(os.getpid()))
    while True:
        server.accept()
print("Listening at http://127.0.0.1:9", flush=True)
sys.stdin.read()
"""
"""What only seems to be ssh: a tunnel that leads nowhere, and a server that never answers."""


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_no_tunnel_is_left_when_a_signal_ends_the_server(
    ends: signal.Signals, tmp_path: Path
) -> None:
    ssh, noted = tmp_path / "ssh", tmp_path / "tunnel"
    ssh.write_text(SSH.format(python=sys.executable, noted=str(noted)))
    ssh.chmod(0o755)
    command = [str(GEMMA4), "serve", "--model", "tiny", "--also", "elsewhere", "--port", "0"]
    variables = {**os.environ, "GEMMA4_SSH": str(ssh), "MLX_DISABLE_COMPILE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
    try:
        assert process.stdout is not None and "Listening" in process.stdout.readline()
        tunnel = int(noted.read_text())
        os.kill(tunnel, 0)
        process.send_signal(ends)
        process.wait(60)
        with pytest.raises(ProcessLookupError):
            os.kill(tunnel, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
