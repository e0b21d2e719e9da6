"""A server in a thread of the program that has the worker: `/serve` of the terminal program."""

import asyncio
import socket

import uvicorn

from ..errors import Gemma4Error
from ..runtime.client import Client
from ..runtime.commands import SessionSettings
from ..runtime.threads import start_thread
from .app import config, make_app
from .engine import Engine, EngineOptions
from .guest import GuestClient

SECONDS = 10.0
"""The most seconds that `close` waits for the thread."""


class SharedServer:
    """Serves a program's own worker to other programs on this computer, as soon as it is made.

    Args:
        client: of the worker; its reports must be passed through `take`, from how its load ended.
        model: the model's name, for clients.
        settings: how conversations are held.
        port: 0 for any that is free.

    Attributes:
        address: its URL for clients, with `/v1`.

    Raises:
        Gemma4Error: the port is taken.
    """

    def __init__(
        self, client: Client, model: str, settings: SessionSettings, port: int = 8080
    ) -> None:
        host = "127.0.0.1"
        try:
            listening = socket.create_server((host, port))
        except OSError as error:
            raise Gemma4Error(
                "port_taken",
                "The server cannot listen",
                f"{host}:{port}: {error.strerror}.",
                "Choose another serve_port in the settings.",
            ) from error
        guest = GuestClient(client)
        self.take = guest.take
        app = make_app(Engine(guest, EngineOptions(model, settings=settings)))
        self._server = uvicorn.Server(config(app, host, port))
        self.address = f"http://{host}:{listening.getsockname()[1]}/v1"
        serving = self._server.serve([listening])
        # signals are for the program: uvicorn takes them in the main thread alone
        self._thread = start_thread(lambda: asyncio.run(serving), "server")

    def close(self) -> None:
        """Stop the server; requests that are being answered are cancelled."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(SECONDS)
