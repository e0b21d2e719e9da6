"""Work for a client that may leave, even while its request waits: then the work ends at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.types import Message

Item = TypeVar("Item")
Receive = Callable[[], Awaitable[Message]]
"""Returns the next message of a connection: `Request.receive`, `WebSocket.receive`."""


class ClientLeftError(Exception):
    """The client no longer waits for the answer."""


async def while_there(receive: Receive, work: Awaitable[Item]) -> Item:
    """Return what work returns, while the client waits; call it when all that it sent is read.

    Raises:
        ClientLeftError: the client left; the work is cancelled.
    """
    async with _leaving(receive) as leaving:
        return await _before(leaving, work)


async def unless_gone(receive: Receive, events: AsyncGenerator[Item]) -> AsyncGenerator[Item]:
    """Yield events while the client waits for them. Raises ClientLeftError when it has left."""
    async with _leaving(receive) as leaving, aclosing(events):
        while (event := await _before(leaving, anext(events, None))) is not None:
            yield event


@asynccontextmanager
async def _leaving(receive: Receive) -> AsyncGenerator[asyncio.Task[None]]:
    """Yield a task that is done when the client has left."""

    async def gone() -> None:
        while not (await receive())["type"].endswith(".disconnect"):
            pass

    leaving = asyncio.create_task(gone())
    try:
        yield leaving
    finally:
        await cancelled(leaving)


async def _before(leaving: asyncio.Task[None], work: Awaitable[Item]) -> Item:
    coming = asyncio.ensure_future(work)
    try:
        await asyncio.wait({leaving, coming}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            raise ClientLeftError
        return coming.result()
    finally:
        await cancelled(coming)


async def cancelled(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
