"""HTTP around the dialects: bodies in, JSON or server-sent events out."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..errors import Gemma4Error
from . import chat_completions, errors, fields
from .engine import Engine
from .errors import ApiError
from .leaving import ClientLeftError, cancelled, unless_gone, while_there
from .messages import error_at
from .request import ReplyRequest

log = logging.getLogger(__name__)

KEEP_ALIVE = 5.0
"""Seconds without an event after which a stream shows that it is alive."""
ALIVE = ": alive\n\n"


class Chunks(Protocol):
    """How a dialect writes a reply: JSON before, for and after its events."""

    def start(self) -> list[dict[str, Any]]:
        """Before the first event."""

    def on(self, event: object) -> list[dict[str, Any]]:
        """For an event; there is none for most of the worker's own."""

    def end(self) -> list[dict[str, Any]]:
        """After the last event."""


async def body_of(http: HttpRequest) -> dict[str, Any]:
    """Read the body as a JSON object. Raises ApiError."""
    content = await http.body()
    return await asyncio.to_thread(fields.parsed, content)


def known(error: Exception) -> ApiError:
    """Turn any error into one for a client; a defect is logged."""
    result = errors.of(error)
    if result.status == 500:
        log.error("A request failed", exc_info=error)
    return result


async def failed(http: HttpRequest, error: Exception) -> Response:
    if isinstance(error, ClientLeftError):
        return Response(status_code=499)
    if isinstance(error, HTTPException):  # no such route, not with this method, or no form
        code = "not_found" if error.status_code in (404, 405) else "invalid_request"
        what = f"{http.method} {http.url.path[:200]}: " if code == "not_found" else ""
        where = " GET /openapi.json describes the routes." if code == "not_found" else ""
        error = ApiError(error.status_code, f"{what}{error.detail.rstrip('.')}.{where}", code)
    found = known(error)
    return JSONResponse(error_at(http.scope["path"], found), found.status, found.headers)


HANDLERS: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (ApiError, Gemma4Error, HTTPException, ClientLeftError, Exception), failed
)
"""For Starlette: each error is answered by `failed`."""


def sse(chunk: dict[str, Any] | str, name: str | None = None) -> str:
    """Format a server-sent event."""
    text = chunk if isinstance(chunk, str) else json.dumps(chunk)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events, and a sign of life where none comes for KEEP_ALIVE seconds.

    Args:
        texts: the events.
        failure: makes the event of an error after the first text.
        sign: the sign of life.
    """

    def __init__(
        self, texts: AsyncGenerator[str], failure: Callable[[ApiError], str], sign: str = ALIVE
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(self._all(), media_type="text/event-stream", headers=headers)
        self._texts, self._failure, self._sign = texts, failure, sign
        self._coming = asyncio.ensure_future(anext(texts, None))

    async def start(self, http: HttpRequest) -> "EventStream":
        """Wait for the first text, at most KEEP_ALIVE seconds: an error until then is no stream.

        Raises:
            ClientLeftError: the client has left.
            Whatever the texts raise before their first one.
        """
        try:
            await while_there(http.receive, asyncio.wait({self._coming}, timeout=KEEP_ALIVE))
            if self._coming.done():
                self._coming.result()
        except BaseException:
            await cancelled(self._coming)
            raise
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the work ends also where the client left before it read anything."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await cancelled(self._coming)
            await self._texts.aclose()

    async def _all(self) -> AsyncGenerator[str]:
        try:
            while True:
                done, _ = await asyncio.wait({self._coming}, timeout=KEEP_ALIVE)
                text = self._coming.result() if done else self._sign
                if text is None:
                    return
                yield text
                if done:
                    self._coming = asyncio.ensure_future(anext(self._texts, None))
        except Exception as error:
            yield self._failure(known(error))


async def chunks(
    engine: Engine, request: ReplyRequest, reply: Chunks
) -> AsyncGenerator[dict[str, Any]]:
    """Yield a reply's chunks; the first comes once the request is accepted."""
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
    """The routes of an engine for health, metrics, models and chat completions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, http: HttpRequest) -> Response:
        """Whether requests can be answered: 200, or 503."""
        engine = self._engine
        if engine.failed is not None:
            return JSONResponse({"status": "failed", "cause": str(engine.failed)}, 503)
        status = "loading" if engine.loaded is None else "ok"
        return JSONResponse({"status": status}, 503 if engine.loaded is None else 200)

    async def metrics(self, http: HttpRequest) -> Response:
        engine = self._engine
        gauges = {"requests_waiting": engine.waiting, "slots_busy": engine.busy}
        gauges |= {"slots": engine.options.slots, "model_loaded": int(engine.loaded is not None)}
        return Response(engine.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def models(self, http: HttpRequest) -> Response:
        """List the one model, in the formats of OpenAI and Anthropic."""
        name = self._engine.name
        page = {"has_more": False, "first_id": name, "last_id": name}
        return JSONResponse({"object": "list", "data": [self._model()], **page})

    async def model(self, http: HttpRequest) -> Response:
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
            "type": "model",  # this one and the next two are Anthropic's
            "display_name": self._engine.name,
            "created_at": "1970-01-01T00:00:00Z",
            "owned_by": "mlx-gemma4",
            **more,
        }

    async def chat_completions(self, http: HttpRequest) -> Response:
        self._engine.need_model()
        request = await asyncio.to_thread(chat_completions.parse, await body_of(http))
        if request.stream:
            made = EventStream(self._chat_chunks(request), lambda error: sse(error.body))
            return await made.start(http)
        replies = chat_streams(request, self._engine.name)
        for number, reply in enumerate(replies):
            events = self._engine.reply(numbered(request, number))
            async for event in unless_gone(http.receive, events):
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
    """Make a stream for each reply that is wanted; all have one id."""
    first = chat_completions.ChatStream(request, model)
    others = [
        chat_completions.ChatStream(request, model, number, first.identity)
        for number in range(1, request.n)
    ]
    return [first, *others]


def numbered(request: ReplyRequest, number: int) -> ReplyRequest:
    """Return the request for one of several replies: each has a seed of its own."""
    sampling = request.sampling
    if sampling.seed is None:
        return request
    return replace(request, sampling=replace(sampling, seed=(sampling.seed + number) % 2**64))
