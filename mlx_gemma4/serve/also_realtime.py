"""A Realtime conversation in front of several engines: it goes to one of them, and stays there."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..errors import Gemma4Error
from .realtime.refusals import error_event

OPENING = 30.0
"""Seconds in which an engine must accept or refuse a conversation: it waits for a slot itself."""
PROTOCOL = "realtime"
CLIENT, ENGINE = "the client", "the engine"  # who has left
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
        Why the computer was lost; empty where it was not.
    """
    async with upstream:
        await socket.accept(upstream.subprotocol)
        works = [
            asyncio.ensure_future(_from_client(socket, upstream)),
            asyncio.ensure_future(_from_engine(socket, upstream)),
            asyncio.ensure_future(gone()),
        ]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            ends = [task.result() for task in done]
            if CLIENT in ends:
                return ""
            lost = next((end for end in ends if end != ENGINE), "")
            if not lost and upstream.close_code in _LOST:
                lost = "its connection was closed"
            code, reason = upstream.close_code or 1000, upstream.close_reason or ""
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client has left
                if lost:
                    cause = f"{name} was lost in the conversation ({lost})."
                    error = Gemma4Error("host_lost", "A computer is lost", cause, "Connect again.")
                    code, reason = 1011, f"{name} was lost. Connect again."
                    await socket.send_text(json.dumps(error_event(error, None)))
                await socket.close(code, reason)
            return lost
        finally:
            for task in works:
                task.cancel()
            await asyncio.gather(*works, return_exceptions=True)


async def _from_client(socket: WebSocket, upstream: ClientConnection) -> str:
    """Pass on what the client sends, and return who has left."""
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            await upstream.send(message.get("text") or message.get("bytes") or "")
    except ConnectionClosed:
        await upstream.wait_closed()
        return ENGINE
    return CLIENT


async def _from_engine(socket: WebSocket, upstream: ClientConnection) -> str:
    """Pass on what the engine sends, and return who has left."""
    try:
        async for message in upstream:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
    except ConnectionClosed:
        pass
    except (WebSocketDisconnect, RuntimeError):
        return CLIENT
    return ENGINE
