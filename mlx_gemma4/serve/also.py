"""One server in front of several: each request goes to a whole engine on one of several computers.

A conversation stays where its first part was read; a new one goes to the computer with the least to
do. A request that a computer has not started to answer when it is lost goes to another one, and the
lost computer's conversations are read again there.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from . import also_realtime
from .errors import ApiError
from .guard import Doors, Guard
from .leaving import ClientLeftError
from .merged_metrics import merged
from .messages import error_at
from .routes import HANDLERS, sse

log = logging.getLogger(__name__)

KNOWN = 20_000
"""The most prefixes of conversations whose computer is remembered."""
EVERY, FROZEN = 2.0, 15.0
"""Seconds between two health checks of a computer, and in which it must answer one."""
MOMENT = 2.0
"""The most seconds that `/health` and `/metrics` wait for a computer."""
_LOOK = 0.25  # seconds between two checks whether a client has left or a computer is lost
_FRONT = ("system", "instructions", "tools")
_HOP = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
_NOT_FORWARDED = _HOP | {"authorization", "origin", "x-api-key", "accept-encoding"}


@dataclass(eq=False)
class EngineHost:
    """A computer with a whole engine.

    Attributes:
        name: for people and `/metrics`.
        url: the address of its server, as seen from this computer.
        busy: how many requests it answers now.
        asked: how many requests it was sent so far.
        gone: why it is not asked any more; empty while it is.
        state: what its server reports of its model: "ok", "loading", or why it has none.
    """

    name: str
    url: str
    busy: int = 0
    asked: int = 0
    gone: str = ""
    state: str = "ok"


@dataclass
class Placement:
    """Which computer a request goes to."""

    hosts: Sequence[EngineHost]
    _places: OrderedDict[str, EngineHost] = field(default_factory=OrderedDict)

    def choose(self, keys: Sequence[str]) -> EngineHost | None:
        """Choose the computer for a conversation with these prefixes, the shortest first.

        Returns:
            None where all computers are lost.
        """
        there = [host for host in self.hosts if not host.gone]
        there = [host for host in there if host.state == "ok"] or there
        if not there:
            return None
        least = min(there, key=lambda host: (host.busy, host.asked))
        for key in reversed(keys[:-1]):  # it continues: its rows are there
            if (place := self._places.get(key)) in there:
                return place
        same = self._places.get(keys[-1]) if keys else None  # asked again, or by somebody else
        return same if same in there and same is not None and same.busy <= least.busy else least

    def remember(self, keys: Sequence[str], host: EngineHost) -> None:
        """Note that the conversation with these prefixes is at this computer."""
        for key in keys:
            self._places[key] = host
            self._places.move_to_end(key)
        while len(self._places) > KNOWN:
            self._places.popitem(last=False)


def beginnings(body: Mapping[str, Any]) -> list[str]:
    """Return digests of a request's prefixes: its head with one message, with two, and so on.

    System messages are part of the head: many conversations share them.
    """
    messages = body.get("messages", body.get("input"))
    if not isinstance(messages, list):
        messages = [messages]
    digest = hashlib.sha256(json.dumps([body.get(name) for name in _FRONT]).encode())
    keys = []
    for message in messages:
        digest.update(json.dumps(message, sort_keys=True).encode())
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "developer"):
            keys.append(digest.hexdigest())
    return keys


class Router:
    """Forwards requests to the engines of several computers."""

    def __init__(self, hosts: Sequence[EngineHost]) -> None:
        self.hosts = hosts
        self._closing = False
        self._placement = Placement(hosts)
        self._answers: Counter[int] = Counter()
        # a health check never waits behind requests, and an idle connection ends here first
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=EVERY)
        self._client = httpx2.AsyncClient(timeout=None, trust_env=False, limits=limits)

    async def watch(self) -> None:
        """Check each computer every EVERY seconds; ends when cancelled."""
        while True:
            await asyncio.gather(*(self._look(host) for host in self.hosts if not host.gone))
            await asyncio.sleep(EVERY)

    async def _look(self, host: EngineHost) -> None:
        try:
            answer = await self._client.get(f"{host.url}/health", timeout=FROZEN)
            known = answer.json()
            state = known.get("cause") or known.get("status") or "unknown"
        except (ValueError, AttributeError):
            state = "its server answers something else"
        except httpx2.TransportError as error:
            self.leave(host, f"{type(error).__name__}: {error}")
            return
        if state != host.state and state not in ("ok", "loading"):
            log.error("%s cannot answer: %s", host.name, state)
        host.state = state

    async def close(self) -> None:
        """Close all connections; a computer that ends from now on is not logged as lost."""
        self._closing = True
        await self._client.aclose()

    def answered(self, status: int) -> None:
        self._answers[status] += 1

    async def health(self, request: Request) -> Response:
        """Return the state of each computer, and whether one can answer."""
        await self._of_all(self._look)
        states = {host.name: host.gone or host.state for host in self.hosts}
        there = [host.state for host in self.hosts if not host.gone]
        status = "failed" if there else "gone"
        status = next((good for good in ("ok", "loading") if good in there), status)
        return JSONResponse({"status": status, "hosts": states}, 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics of all engines by host, and of this server, in Prometheus's format."""
        texts: dict[str, str] = {}

        async def ask(host: EngineHost) -> None:
            with contextlib.suppress(httpx2.TransportError):  # `_look` finds that it is lost
                texts[host.name] = (await self._client.get(f"{host.url}/metrics")).text

        await self._of_all(ask)
        lines = merged({host.name: texts[host.name] for host in self.hosts if host.name in texts})
        for name, kind in (("up", "gauge"), ("busy", "gauge"), ("asked", "counter")):
            lines.append(f"# TYPE gemma4_host_{name} {kind}")
            for host in self.hosts:
                value = int(not host.gone) if name == "up" else getattr(host, name)
                lines.append(f'gemma4_host_{name}{{host="{host.name}"}} {value}')
        lines.append("# TYPE gemma4_answers counter")
        lines += [f'gemma4_answers{{status="{n}"}} {c}' for n, c in sorted(self._answers.items())]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def _of_all(self, ask: Callable[[EngineHost], Awaitable[None]]) -> None:
        """Ask all computers that are not lost, and wait at most MOMENT seconds."""
        asking = [asyncio.ensure_future(ask(host)) for host in self.hosts if not host.gone]
        if asking:
            _, late = await asyncio.wait(asking, timeout=MOMENT)
            for task in late:
                task.cancel()

    async def realtime(self, socket: WebSocket) -> None:
        """Hold a Realtime conversation with the computer that has the least to do."""
        while (host := self._placement.choose(())) is not None:
            host.busy += 1
            host.asked += 1
            try:
                upstream = await also_realtime.open_upstream(socket, host.url)
                if isinstance(upstream, Response):  # the others are as busy as this one
                    await socket.send_denial_response(upstream)
                    return
                gone = partial(_gone, host)
                if lost := await also_realtime.relay(socket, upstream, host.name, gone):
                    self.leave(host, lost)
                return
            except also_realtime.LostError as error:
                self.leave(host, str(error))
            finally:
                host.busy -= 1
        nobody = self._nobody()
        await socket.send_denial_response(JSONResponse(nobody.body, nobody.status))

    async def forward(self, request: Request) -> Response:
        """Have one of the computers answer a request."""
        content = await request.body()
        keys: list[str] = []
        if request.method == "POST":
            # what is no request of ours, an engine refuses
            with contextlib.suppress(ValueError, AttributeError, RecursionError):
                keys = beginnings(json.loads(content))
        while (host := self._placement.choose(keys)) is not None:
            self._placement.remember(keys, host)
            try:
                return await self._ask(host, request, content)
            except httpx2.TransportError as error:
                self.leave(host, f"{type(error).__name__}: {error}")
        raise self._nobody()

    def _nobody(self) -> ApiError:
        causes = "; ".join(f"{host.name}: {host.gone}" for host in self.hosts)
        return ApiError(502, f"No computer answers ({causes}).", "host_lost")

    def leave(self, host: EngineHost, cause: str) -> None:
        """Send a computer nothing more; the cause is logged, unless the router is closing."""
        if not host.gone:
            host.gone = cause
            if not self._closing:
                log.error("%s is lost: %s", host.name, cause)

    async def _ask(self, host: EngineHost, request: Request, content: bytes) -> Response:
        headers = [(n, v) for n, v in request.headers.items() if n not in _NOT_FORWARDED]
        url = f"{host.url}{request.url.path}"
        if request.url.query:
            url += f"?{request.url.query}"
        asked = self._client.build_request(request.method, url, headers=headers, content=content)
        host.busy += 1
        host.asked += 1
        handed_over = False
        try:
            response = await unless_lost(host, self._client.send(asked, stream=True), request)
            kept = {n: v for n, v in response.headers.items() if n not in _HOP}
            if "text/event-stream" not in response.headers.get("content-type", ""):
                body = await unless_lost(host, response.aread(), request)
                return Response(body, response.status_code, kept)
            handed_over = True
            return Forwarded(
                host, response, self._stream(host, response, request.scope["path"]), kept
            )
        finally:
            if not handed_over:
                host.busy -= 1

    async def _stream(
        self, host: EngineHost, response: httpx2.Response, path: str
    ) -> AsyncGenerator[bytes]:
        """Yield an answer's events; a lost computer ends them with an error: half was sent."""
        try:
            pieces = response.aiter_raw()
            while piece := await unless_lost(host, anext(pieces, b"")):
                yield piece
        except httpx2.TransportError as error:
            self.leave(host, f"{type(error).__name__}: {error}")
            lost = ApiError(502, f"{host.name} was lost in the answer. Ask again.", "host_lost")
            body = error_at(path, lost)
            yield f"\n\n{sse(body, body.get('type'))}".encode()


class Forwarded(StreamingResponse):
    """An answer's events from another computer, until they end or the client leaves."""

    def __init__(
        self,
        host: EngineHost,
        response: httpx2.Response,
        events: AsyncGenerator[bytes],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(events, response.status_code, headers)
        self._host, self._response = host, response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the connection is closed also where the client left before the first event."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._host.busy -= 1
            await self._response.aclose()


async def _gone(host: EngineHost) -> str:
    """Wait until a computer is lost, and return the cause."""
    while not host.gone:
        await asyncio.sleep(_LOOK)
    return host.gone


async def unless_lost(host: EngineHost, work: Any, request: Request | None = None) -> Any:
    """Wait for work; cancel it when the computer is lost or the client has left."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=_LOOK))[0]:
            if host.gone:
                raise httpx2.ReadError(host.gone)
            if request is not None and await request.is_disconnected():
                raise ClientLeftError
        return task.result()
    finally:
        task.cancel()


def make_router(
    router: Router, doors: Doors | None = None, ended: Callable[[], object] = lambda: None
) -> ASGIApp:
    """Make the application that forwards requests.

    Args:
        router: forwards them.
        doors: who may use it; the engines' own servers let in this computer only.
        ended: called in a thread when the server ends, also by a signal that ends the process.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        watching = asyncio.ensure_future(router.watch())
        yield
        watching.cancel()
        await router.close()
        await asyncio.to_thread(ended)

    inner = Starlette(
        routes=[
            Route("/health", router.health),
            Route("/metrics", router.metrics),
            WebSocketRoute("/v1/realtime", router.realtime),
            Route("/{path:path}", router.forward, methods=["GET", "POST"]),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    return Guard(inner, doors or Doors(), router.answered)
