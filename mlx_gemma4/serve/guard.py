"""Checks who may use the server, and how much they send: hosts, origins, keys, bytes and seconds.

The outermost layer, for HTTP and WebSocket alike; a refused request reaches no route.
"""

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import h11
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .addresses import route_of
from .errors import ApiError
from .messages import error_at

BODY_BYTES = 64 << 20
BODY_SECONDS = 30.0
"""How long the next piece of a body may take."""
HEADER_SECONDS = 20.0
"""How long a client may take for the headers of a request."""
OPEN = {("GET", "/"), ("HEAD", "/"), ("GET", "/health"), ("HEAD", "/health")}
"""What needs no key: the page, in which the key is typed, and whether the server is there."""
SUBPROTOCOL = "openai-insecure-api-key."
"""The start of the subprotocol by which a browser's WebSocket sends its key; that may be written as
in addresses, for a subprotocol has no slash."""
OWN_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Doors:
    """Who may use the server.

    Attributes:
        key: the key that every client must send; empty for none.
        hosts: names under which it may be reached, besides this computer's own and IP addresses.
        origins: origins of other servers' pages that may use this one.
    """

    key: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class Guard:
    """Refuses requests that are not allowed.

    Args:
        answered: called with the status of each HTTP answer.
    """

    def __init__(self, app: ASGIApp, doors: Doors, answered: Callable[[int], None]) -> None:
        self._app = app
        self._answered = answered
        self._key = doors.key
        self._origins = {_usual(origin) for origin in doors.origins}
        own = socket.gethostname().lower()
        self._hosts = {"localhost", own, f"{own.removesuffix('.local')}.local"}
        self._hosts |= {host.lower() for host in doors.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or answer why it is refused."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "path": route_of(scope["path"])}
        headers = Headers(scope=scope)
        if scope["type"] == "http":
            send = self._counted(send)
        origin = headers.get("origin", "")
        allowed = _usual(origin) in self._origins
        preflight = scope.get("method") == "OPTIONS" and allowed and origin
        error = self._refusal(scope, headers, bool(preflight))
        if scope["type"] == "websocket":
            if error is None:
                await self._app(scope, receive, send)
            else:
                await answer(_before_upgrade(send), error, scope)
            return
        cors = _cors(origin, headers) if allowed and origin else []
        if error is not None:
            await answer(_with_headers(send, cors), error, scope)
            return
        if preflight:
            await send({"type": "http.response.start", "status": 204, "headers": cors})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._bounded(scope, headers, receive, _with_headers(send, cors))

    def _counted(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered(message["status"])
            await send(message)

        return sending

    def _refusal(self, scope: Scope, headers: Headers, preflight: bool) -> ApiError | None:
        if not self._known_host(headers.get("host", "")):
            message = "This name of the host is not allowed; --allow-host NAME allows it."
            return ApiError(403, message, "forbidden")
        origin = headers.get("origin")
        if origin is not None and _usual(origin) not in self._origins:
            if not _same(origin, headers.get("host", "")):
                message = "This origin is not allowed; --allow-origin URL allows it."
                return ApiError(403, message, "forbidden")
        if (scope.get("method"), scope["path"]) in OPEN or preflight:
            return None
        if self._key and not any(
            hmac.compare_digest(key.encode(), self._key.encode()) for key in _keys(headers)
        ):
            return ApiError(401, "The API key is missing or wrong.", "invalid_api_key")
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() not in ("", "identity"):
            message = f"A body in {encoding[:20]} is not read; send it without compression."
            return ApiError(415, message, "unsupported_media_type")
        return None

    def _known_host(self, host: str) -> bool:
        """Whether this is one of our names, or an IP address: DNS rebinding needs a name."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:  # a bracket that is not closed
            return False
        if name is None or "@" in host:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._hosts
        return True

    async def _bounded(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Pass a request on; limit the size of its body, and the wait for each piece of it."""
        read, over = 0, False
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY_BYTES:
            await answer(send, _too_large(), scope)
            return

        async def counted() -> Message:
            nonlocal read, over
            if over:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), BODY_SECONDS)
            except TimeoutError:
                raise ApiError(408, "The body did not come in time.", "timeout") from None
            read += len(message.get("body", b""))
            over = message["type"] != "http.request" or not message.get("more_body", False)
            if read > BODY_BYTES:
                raise _too_large()
            return message

        await self._app(scope, counted, send)


async def answer(send: Send, error: ApiError, scope: Scope) -> None:
    content = json.dumps(error_at(scope["path"], error)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    coded = [(n.encode(), v.encode()) for n, v in {**headers, **error.headers}.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": coded})
    await send({"type": "http.response.body", "body": content})


def _before_upgrade(send: Send) -> Send:
    """Turn an HTTP answer into that of a WebSocket (ASGI's extension `websocket.http.response`)."""
    return lambda message: send({**message, "type": f"websocket.{message['type']}"})


def _too_large() -> ApiError:
    return ApiError(413, f"The body has more than {BODY_BYTES >> 20} MiB.", "body_too_large")


def _keys(headers: Headers) -> Iterable[str]:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield key.strip()
    yield headers.get("x-api-key", "")
    for name in headers.get("sec-websocket-protocol", "").split(","):
        if name.strip().startswith(SUBPROTOCOL):
            key = name.strip().removeprefix(SUBPROTOCOL)
            yield key
            yield unquote(key)


def _usual(origin: str) -> str:
    """Write an origin as browsers do: in lower case, without a slash and its scheme's own port."""
    scheme, _, host = origin.lower().rstrip("/").partition("://")
    return f"{scheme}://{host.removesuffix(OWN_PORTS.get(scheme, ''))}"


def _same(origin: str, host: str) -> bool:
    """Whether a request comes from a page of this server."""
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _cors(origin: str, headers: Headers) -> list[tuple[bytes, bytes]]:
    wanted = headers.get("access-control-request-headers", "authorization, content-type")
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", wanted.encode("latin-1")),
        (b"vary", b"origin"),
    ]


def _with_headers(send: Send, more: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if more and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sending


class TimedProtocol(H11Protocol):
    """HTTP whose request headers must come within HEADER_SECONDS; uvicorn itself waits for ever."""

    _headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Keep waiting only while the headers are incomplete."""
        super().data_received(data)
        self._wait()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop waiting: another protocol takes over the connection."""
        super().handle_websocket_upgrade(event)
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
