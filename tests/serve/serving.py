"""A server in a thread of the test, on a free port."""

import asyncio
import base64
import io
import json
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from mlx_gemma4.runtime.client import Client
from mlx_gemma4.serve.app import config, make_app
from mlx_gemma4.serve.engine import Engine, EngineOptions
from mlx_gemma4.serve.guard import Doors

ASSETS = Path(__file__).resolve().parents[2] / "assets"
RECEIPT, DIGITS = ASSETS / "demo" / "receipt.png", ASSETS / "demo" / "digits.wav"
PATIENCE = 60.0


@contextmanager
def served(
    worker: Client,
    options: EngineOptions | None = None,
    doors: Doors | None = None,
    certificate: str | None = None,
) -> Iterator[httpx2.Client]:
    """A client of a server with this worker; its base is the server's root."""
    engine = Engine(worker, options or EngineOptions(str(ASSETS / "tiny")))
    with running(make_app(engine, doors), certificate) as client:
        until(lambda: engine.loaded is not None or engine.failed is not None)
        client.engine = engine
        yield client


@contextmanager
def running(app: ASGIApp, certificate: str | None = None) -> Iterator[httpx2.Client]:
    """A client of an application that runs in a thread."""
    server = uvicorn.Server(config(app, "127.0.0.1", 0, certificate))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    known = ssl.create_default_context(cafile=certificate) if certificate else True
    with httpx2.Client(base_url=base, timeout=PATIENCE, verify=known) as client:
        client.end = lambda: setattr(server, "should_exit", True)
        yield client
    server.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"the server does not end:\n{_stacks(server)}"


def _stacks(server: uvicorn.Server) -> str:
    """Where the server's tasks and the threads of this process wait."""
    text = io.StringIO()
    for one in server.servers:
        for task in asyncio.all_tasks(one.get_loop()):
            task.print_stack(file=text)
    for frame in sys._current_frames().values():
        traceback.print_stack(frame, file=text)
    return text.getvalue()


def until(condition: Any) -> None:
    """Wait until something is so."""
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def picture(path: Path = RECEIPT) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64_of(path)}"
    return {"type": "image_url", "image_url": {"url": url}}


def sound(path: Path = DIGITS) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64_of(path), "format": "wav"}}


def asked(*content: Any, **more: Any) -> dict[str, Any]:
    """The body of a question."""
    message = {"role": "user", "content": list(content)}
    return {"model": "m", "messages": [message], "temperature": 0, "max_tokens": 40, **more}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def chat(client: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer to a request that must succeed."""
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def said(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"]


def events(client: httpx2.Client, body: dict[str, Any]) -> list[Any]:
    """The data of a stream's events; `[DONE]` as it is."""
    with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    texts = [line.removeprefix("data: ") for line in lines]
    return [one if one == "[DONE]" else json.loads(one) for one in texts]
