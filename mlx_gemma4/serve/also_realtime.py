"""A Realtime conversation before several engines: it is with one of them, and stays there."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..errors import Gemma4Error
from .realtime.refusals import error_event

OPENING = 30.0
"""Seconds in which an engine accepts a conversation or refuses it: it waits for a slot itself."""
PROTOCOL = "realtime"
_LOST = (None, 1001, 1006, 1012)  # RFC 6455: it goes away, was cut off, or starts again


class LostError(Exception):
    """The engine's computer is gone; the text is why."""


async def open_upstream(socket: WebSocket, url: str) -> ClientConnection | Response:
    """Ask an engine for a conversation; its refusal is for the client.

    Args:
        socket: the client's, not accepted yet.
        url: of the engine's server.

    Raises:
        LostError: it does not answer.
    """
    query = f"?{socket.url.query}" if socket.url.query else ""
    offered = PROTOCOL in socket.scope.get("subprotocols", [])
    try:
        return await connect(
            f"{url.replace('http', 'ws', 1)}{socket.url.path}{query}",
            subprotocols=[Subprotocol(PROTOCOL)] if offered else None,
            open_timeout=OPENING,
            compression=None,
            max_size=None,
            proxy=None,
        )
    except InvalidStatus as refusal:
        answer = refusal.response
        kept = {n: v for n, v in answer.headers.items() if n.lower() in ("retry-after",)}
        return Response(bytes(answer.body or b""), answer.status_code, kept, "application/json")
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise LostError(f"{type(error).__name__}: {error}") from error


async def relay(
    socket: WebSocket, upstream: ClientConnection, name: str, gone: Callable[[], Awaitable[str]]
) -> str:
    """Pass messages on until either side leaves.

    Args:
        socket: the client's, accepted here.
        upstream: the engine's.
        name: of the engine's computer.
        gone: returns when the computer is gone, with the cause.

    Returns:
        why the computer was lost; empty where it was not.
    """
    async with upstream:
        await socket.accept(upstream.subprotocol)
        return await _relayed(socket, upstream, name, gone)


async def _relayed(
    socket: WebSocket, upstream: ClientConnection, name: str, gone: Callable[[], Awaitable[str]]
) -> str:
    lost = ""
    works: dict[asyncio.Task[Any], str] = {
        asyncio.ensure_future(work): which
        for which, work in (
            ("client", _from_client(socket, upstream)),
            ("engine", _from_engine(socket, upstream)),
            ("gone", gone()),
        )
    }
    try:
        done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            lost = lost or str(task.result() or "")
        code, reason = upstream.close_code or 1000, upstream.close_reason or ""
        if lost:
            cause = f"{name} was lost in the conversation ({lost})."
            error = Gemma4Error("host_lost", "A computer is lost", cause, "Connect again.")
            code, reason = 1011, f"{name} was lost. Connect again."
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(json.dumps(error_event(error, None)))
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client has left
            await socket.close(code, reason)
        return lost
    finally:
        for task in works:
            task.cancel()
        await asyncio.gather(*works, return_exceptions=True)


async def _from_client(socket: WebSocket, upstream: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):  # the other direction knows why
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            await upstream.send(message.get("text") or message.get("bytes") or "")
        return
    await upstream.wait_closed()


async def _from_engine(socket: WebSocket, upstream: ClientConnection) -> str:
    """Returns why the engine was lost; empty where it has closed, or the client is gone."""
    try:
        async for message in upstream:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
    except ConnectionClosed:
        pass
    except (WebSocketDisconnect, RuntimeError):
        return ""
    if upstream.close_code in _LOST:
        return "its connection was closed"
    return ""
