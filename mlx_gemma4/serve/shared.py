"""A server in a thread of the program that has the worker: `/serve` of the terminal program."""

import asyncio
import threading
from concurrent.futures import Future

import uvicorn

from ..errors import Gemma4Error
from ..runtime.client import Client
from ..runtime.commands import SessionSettings
from ..runtime.reports import Failed, Loaded
from ..runtime.threads import start_thread
from .app import config, make_app
from .engine import Engine, EngineOptions
from .guest import GuestClient

SECONDS = 10.0
"""The longest that it may take to listen, or to end."""


class SharedServer:
    """Serves a program's own worker to programs of this computer, from when it is made.

    Args:
        client: of the worker; its reports must be passed through `take`.
        loaded: what it has loaded; None while it loads.
        model: the model's name, for clients.
        settings: how conversations are held.
        port: 0 for any that is free.

    Attributes:
        address: where it listens, as a client is given it.

    Raises:
        Gemma4Error: the port is taken.
    """

    def __init__(
        self,
        client: Client,
        loaded: Loaded | None,
        model: str,
        settings: SessionSettings,
        port: int = 8080,
    ) -> None:
        host = "127.0.0.1"
        guest = GuestClient(client, loaded)
        self.take = guest.take
        app = make_app(Engine(guest, EngineOptions(model, settings=settings)))
        self._server = uvicorn.Server(config(app, host, port))
        self._listens: Future[int] = Future()
        self._thread = start_thread(self._run, "server", self._failed)
        try:
            port = self._listens.result(SECONDS)
        except (OSError, SystemExit, TimeoutError) as error:
            self._server.should_exit = True
            raise Gemma4Error(
                "port_taken",
                "The server cannot listen",
                f"{host}:{port} is taken, or not an address of this computer.",
                "Choose another serve_port in the settings.",
            ) from error
        self.address = f"http://{host}:{port}/v1"

    def close(self) -> None:
        """End it; requests that are being answered are cancelled."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        # signals are for the program: uvicorn takes them in the main thread alone
        assert threading.current_thread() is not threading.main_thread()
        serving = asyncio.ensure_future(self._server.serve())
        while not (self._server.started or serving.done()):
            await asyncio.sleep(0.01)
        if self._server.started:
            self._listens.set_result(self._server.servers[0].sockets[0].getsockname()[1])
        try:
            await serving
        except SystemExit as error:  # it could not listen
            if not self._listens.done():
                self._listens.set_exception(OSError(str(error)))

    def _failed(self, failed: Failed) -> None:
        if not self._listens.done():
            self._listens.set_exception(OSError(failed.cause))
