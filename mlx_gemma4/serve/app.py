"""The server as an ASGI application: routes, errors and the guard around them."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from ..errors import Gemma4Error
from .dialect_routes import DialectRoutes
from .engine import Engine
from .errors import ApiError
from .guard import Doors, Guard, TimedProtocol
from .leaving import ClientLeftError
from .openapi import openapi
from .page import page
from .realtime.connection import RealtimeRoute
from .routes import Routes, failed

log = logging.getLogger(__name__)

CONNECTIONS = 256
"""The most connections at once; more are answered with 503."""
MESSAGE_BYTES = 16 << 20
"""The most bytes of a WebSocket message."""


def make_app(engine: Engine, doors: Doors | None = None) -> ASGIApp:
    """The application; the engine is started and closed with it.

    Args:
        engine: that answers.
        doors: who may come in; None for every program of this computer.
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
        exception_handlers={
            kind: failed
            for kind in (ApiError, Gemma4Error, HTTPException, ClientLeftError, Exception)
        },
        lifespan=lifespan,
    )
    return Guard(inner, doors or Doors(), engine.metrics.answered)


def config(
    app: ASGIApp, host: str, port: int, certificate: str | None = None, key: str | None = None
) -> uvicorn.Config:
    """How uvicorn runs it.

    Args:
        app: from `make_app`.
        host: the address to listen at.
        port: 0 for any that is free.
        certificate: a PEM file, for https.
        key: of the certificate, where it is in a file of its own.
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
