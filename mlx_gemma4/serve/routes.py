"""HTTP around the dialects: bodies in, JSON or server-sent events out."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from . import chat_completions, errors, fields
from .engine import Engine
from .errors import ApiError
from .request import ReplyRequest

log = logging.getLogger(__name__)

KEEP_ALIVE = 5.0
"""Seconds without an event after which a stream shows that it is alive."""
ALIVE = ": alive\n\n"


Item = TypeVar("Item")


class Chunks(Protocol):
    """How a dialect writes a reply: JSON before, for and after its events."""

    def start(self) -> list[dict[str, Any]]:
        """Before the first event."""

    def on(self, event: object) -> list[dict[str, Any]]:
        """For an event; most of the worker's own are nothing."""

    def end(self) -> list[dict[str, Any]]:
        """After the last event."""


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


async def body_of(http: HttpRequest) -> dict[str, Any]:
    """The JSON object that was sent. Raises ApiError."""
    content = await http.body()
    return await asyncio.to_thread(fields.parsed, content)


def known(error: Exception) -> ApiError:
    """Any error as one for a client; a defect is logged."""
    result = errors.of(error)
    if result.status == 500:
        log.error("A request failed", exc_info=error)
    return result


async def failed(_: HttpRequest, error: Exception) -> Response:
    """The answer to an error."""
    if isinstance(error, ClientLeftError):
        return Response(status_code=499)
    if isinstance(error, HTTPException):  # no such route, not with this method, or no form
        code = "not_found" if error.status_code in (404, 405) else "invalid_request"
        error = ApiError(error.status_code, f"{error.detail.rstrip('.')}.", code)
    found = known(error)
    return JSONResponse(found.body, found.status, found.headers)


def sse(chunk: dict[str, Any] | str, name: str | None = None) -> str:
    """A server-sent event."""
    text = chunk if isinstance(chunk, str) else json.dumps(chunk)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


async def unless_gone(http: HttpRequest, events: AsyncGenerator[Item]) -> AsyncGenerator[Item]:
    """Events, while somebody waits for them. Raises ClientLeftError where nobody does."""

    async def gone() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(gone())
    async with aclosing(events):
        try:
            while True:
                coming = asyncio.ensure_future(anext(events, None))
                await asyncio.wait({leaving, coming}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    await cancelled(coming)
                    raise ClientLeftError
                event = coming.result()
                if event is None:
                    return
                yield event
        finally:
            await cancelled(leaving)


async def cancelled(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


async def alive(texts: AsyncGenerator[str], sign: str = ALIVE) -> AsyncGenerator[str]:
    """Texts, and a sign of life wherever none comes for a while."""
    async with aclosing(texts):
        coming = asyncio.ensure_future(anext(texts, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE)
                if not done:
                    yield sign
                    continue
                text = coming.result()
                if text is None:
                    return
                yield text
                coming = asyncio.ensure_future(anext(texts, None))
        finally:
            await cancelled(coming)


async def streamed(
    texts: AsyncGenerator[str], failure: Callable[[ApiError], str], sign: str = ALIVE
) -> StreamingResponse:
    """A stream whose status is that of its first text: an error before it is no stream.

    Args:
        texts: server-sent events.
        failure: the event of an error that comes later.
        sign: what is sent where nothing comes for a while.

    Raises:
        Whatever `texts` raises before its first text.
    """
    first = await anext(texts, "")

    async def all_texts() -> AsyncGenerator[str]:
        yield first
        try:
            async with aclosing(alive(texts, sign)) as others:
                async for text in others:
                    yield text
        except Exception as error:
            yield failure(known(error))

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(all_texts(), media_type="text/event-stream", headers=headers)


async def chunks(
    engine: Engine, request: ReplyRequest, reply: Chunks
) -> AsyncGenerator[dict[str, Any]]:
    """The chunks of a reply; the first comes when the request is accepted, and not refused."""
    started = False
    async with aclosing(engine.reply(request)) as events:
        async for event in events:
            for chunk in [] if started else reply.start():
                yield chunk
            started = True
            for chunk in reply.on(event):
                yield chunk
    for chunk in reply.end():
        yield chunk


class Routes:
    """The routes of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, http: HttpRequest) -> Response:
        """Whether requests can be answered."""
        engine = self._engine
        if engine.failed is not None:
            return JSONResponse({"status": "failed", "cause": str(engine.failed)}, 503)
        status = "loading" if engine.loaded is None else "ok"
        return JSONResponse({"status": status}, 503 if engine.loaded is None else 200)

    async def metrics(self, http: HttpRequest) -> Response:
        """Figures for Prometheus."""
        engine = self._engine
        gauges = {"requests_waiting": engine.waiting, "slots_busy": engine.busy}
        gauges |= {"slots": engine.options.slots, "model_loaded": int(engine.loaded is not None)}
        return Response(engine.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def models(self, http: HttpRequest) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, http: HttpRequest) -> Response:
        """A model by its name."""
        if http.path_params["name"] not in (self._engine.name, self._engine.options.model):
            raise ApiError(404, "There is no such model.", "model_not_found", "model")
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        loaded = self._engine.loaded
        more = {} if loaded is None else {"context_length": loaded.context}
        return {
            "id": self._engine.name,
            "object": "model",
            "created": 0,
            "owned_by": "mlx-gemma4",
            **more,
        }

    async def chat_completions(self, http: HttpRequest) -> Response:
        """POST /v1/chat/completions."""
        self._engine.need_model()
        request = await asyncio.to_thread(chat_completions.parse, await body_of(http))
        if request.stream:
            return await streamed(self._chat_chunks(request), lambda error: sse(error.body))
        replies = chat_streams(request, self._engine.name)
        for number, reply in enumerate(replies):
            async for event in unless_gone(http, self._engine.reply(numbered(request, number))):
                reply.on(event)
        return JSONResponse(replies[0].whole(replies[1:]))

    async def _chat_chunks(self, request: ReplyRequest) -> AsyncGenerator[str]:
        replies = chat_streams(request, self._engine.name)
        for number, reply in enumerate(replies):
            async with aclosing(chunks(self._engine, numbered(request, number), reply)) as made:
                async for chunk in made:
                    yield sse(chunk)
        if request.usage:
            yield sse(replies[0].counted(replies[1:]))
        yield sse("[DONE]")


def chat_streams(request: ReplyRequest, model: str) -> list[chat_completions.ChatStream]:
    """A stream for each of the replies that are wanted, with one identity."""
    first = chat_completions.ChatStream(request, model)
    others = [
        chat_completions.ChatStream(request, model, number, first.identity)
        for number in range(1, request.n)
    ]
    return [first, *others]


def numbered(request: ReplyRequest, number: int) -> ReplyRequest:
    """The request of one of several replies: each has a seed of its own."""
    sampling = request.sampling
    if sampling.seed is None:
        return request
    return replace(request, sampling=replace(sampling, seed=(sampling.seed + number) % 2**64))
