"""The server as an ASGI application: routes, errors and the guard around them."""

import shlex
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from ..errors import Gemma4Error
from .client_settings import ANY, root_of, trusting
from .dialect_routes import DialectRoutes
from .engine import Engine
from .guard import Doors, Guard, TimedProtocol
from .openapi import openapi
from .page import page
from .realtime.connection import RealtimeRoute
from .routes import HANDLERS, Routes

CONNECTIONS = 256
"""The most connections at once; more are answered with 503."""
MESSAGE_BYTES = 16 << 20
"""The most bytes of a WebSocket message."""


def make_app(engine: Engine, doors: Doors | None = None) -> ASGIApp:
    """Make the application; the engine is started and closed with it.

    Args:
        engine: answers the requests.
        doors: who may use it; None for every program of this computer.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        engine.start()
        yield
        await engine.close()

    routes = Routes(engine)
    inner = Starlette(
        routes=[
            Route("/health", routes.health),
            Route("/metrics", routes.metrics),
            Route("/openapi.json", openapi),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/chat/completions", routes.chat_completions, methods=["POST"]),
            *DialectRoutes(engine).routes,
            WebSocketRoute("/v1/realtime", RealtimeRoute(engine).serve),
            Route("/", page),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    return Guard(inner, doors or Doors(), engine.metrics.answered)


def config(
    app: ASGIApp, host: str, port: int, certificate: str | None = None, key: str | None = None
) -> uvicorn.Config:
    """Return how uvicorn runs the application.

    Args:
        port: 0 for any that is free.
        certificate: a PEM file, for https.
        key: the certificate's key, where it is in a file of its own.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=TimedProtocol,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def run(
    configured: uvicorn.Config, announce: Callable[[str], object], has_key: bool = False
) -> None:
    """Serve until Ctrl-C.

    Args:
        configured: from `config`.
        announce: called with where it listens, and what to paste to use it.
        has_key: whether requests need a key, whose place is then shown.

    Raises:
        Gemma4Error: it cannot listen.
    """

    class Announced(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            for server in getattr(self, "servers", ()):
                for socket in server.sockets:
                    announce(_usage(configured, socket.getsockname(), has_key))

    try:
        Announced(configured).run()
    except SystemExit as error:  # uvicorn could not listen; its log has the reason
        raise Gemma4Error(
            "port_taken",
            "The server cannot listen",
            f"{configured.host}:{configured.port} is taken, or not an address of this computer.",
            "Choose another --port.",
        ) from error


def _usage(configured: uvicorn.Config, name: tuple[Any, ...], has_key: bool) -> str:
    base = f"{root_of(name[0], name[1], configured.is_ssl)}/v1"
    others = ", and at all addresses of this computer" if name[0] in ANY else ""
    key, header = ("KEY", " -H 'authorization: Bearer KEY'") if has_key else ("none", "")
    file = str(Path(configured.ssl_certfile).absolute()) if configured.ssl_certfile else ""
    trust, hint = (f" --cacert {shlex.quote(file)}", f"\n  {trusting(file)}") if file else ("", "")
    body = '{"messages": [{"role": "user", "content": "hello"}]}'
    json = f"-H 'content-type: application/json'{header} -d '{body}'"
    return (
        f"Listening at {base}{others}\n"
        f"  curl{trust} {base}/chat/completions {json}\n"
        f'  OpenAI(base_url="{base}", api_key="{key}")\n'
        f"  OPENAI_BASE_URL={base} OPENAI_API_KEY={key} AGENT{hint}"
    )
