"""A worker for asyncio: requests wait for a slot, and events come as they are drawn.

All of it runs in the event loop's thread, except for the thread that reads the worker's reports.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from ..errors import Gemma4Error
from ..events import CallText, Done, Event, Thought, Token, ToolCall
from ..runtime import commands
from ..runtime.client import Client
from ..runtime.reports import Crashed, Failed, Finished, Loaded, Report, WorkerEvent
from ..runtime.threads import start_thread
from .media import MediaReader
from .metrics import Metrics
from .request import ReplyRequest, Sampling, Schema

log = logging.getLogger(__name__)

RESTARTS = 3
"""How often a worker is started again before it has loaded the model."""


@dataclass(frozen=True)
class EngineOptions:
    """How the model is served.

    Attributes:
        model: a folder, or a name of Package.toml.
        slots: conversations whose rows are held at once, and the most that are answered at once.
        waiting: the most requests that wait for a slot.
        force: load the model even if it does not fit into the memory.
        fetches: whether pictures are fetched from public addresses.
        settings: of every conversation; what a request chooses is replaced.
        drafter: the folder or name of a drafter, as in `commands.Load`.
        draft: as in `commands.Load`.
        live: whether the Realtime API hears while somebody speaks; else when speech has ended.
    """

    model: str
    slots: int = 2
    waiting: int = 32
    force: bool = False
    fetches: bool = False
    settings: commands.SessionSettings = field(default_factory=commands.SessionSettings)
    drafter: str | None = None
    draft: str | int = "auto"
    live: bool = True


class Ticket:
    """The answer to a command: iterate over its events; a failure is raised.

    Args:
        number: the command's id.
        ended: called once, when the worker is done with it.
    """

    def __init__(self, number: int, ended: Callable[[], None] | None = None) -> None:
        self.number = number
        self._ended = ended
        self._events: asyncio.Queue[Event | WorkerEvent] = asyncio.Queue()

    def put(self, event: Event | WorkerEvent) -> None:
        self._events.put_nowait(event)
        if isinstance(event, Finished | Failed) and self._ended is not None:
            self._ended()

    def __aiter__(self) -> "Ticket":
        return self

    async def __anext__(self) -> Event | WorkerEvent:
        event = await self._events.get()
        if isinstance(event, Failed):
            raise event.error()
        if isinstance(event, Finished):
            raise StopAsyncIteration
        return event

    async def done(self) -> None:
        """Wait until it is carried out. Raises Gemma4Error if it failed."""
        async for _ in self:
            pass


class Engine:
    """One model, served to several clients.

    Args:
        worker: does the work; the engine closes it.
        options: how the model is served.

    Attributes:
        media: reads pictures and sounds.
        metrics: what the server has done.
        loaded: what the model can do; None until it is loaded. A crash leaves it as it is.
        failed: why it could not be loaded; None otherwise.
    """

    def __init__(self, worker: Client, options: EngineOptions) -> None:
        self.options = options
        self.media = MediaReader(options.settings.image_tokens, options.fetches)
        self.metrics = Metrics()
        self.loaded: Loaded | None = None
        self.failed: Gemma4Error | None = None
        self._worker = worker
        self._tickets: dict[int, Ticket] = {}
        self._free = options.slots
        self._queue: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loading: asyncio.Task[None] | None = None
        self._restarts = 0  # since a model was loaded

    @property
    def name(self) -> str:
        """The model's name, for clients."""
        return self.options.model.rstrip("/").rpartition("/")[2]

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._queue)

    @property
    def busy(self) -> int:
        """How many slots are in use."""
        return self.options.slots - self._free

    def start(self) -> None:
        """Load the model; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        start_thread(self._read, "served reports")
        self._load()

    async def close(self) -> None:
        """Cancel everything and end the worker."""
        await asyncio.to_thread(self._worker.close)
        if self._loading is not None:
            with suppress(Gemma4Error):
                await self._loading

    def need_model(self) -> Loaded:
        """Return what the model can do.

        Raises:
            Gemma4Error: it is still being loaded for the first time, or could not be loaded.
        """
        if self.failed is not None:
            raise self.failed
        if self.loaded is None:
            raise Gemma4Error(
                "model_loading", "The model is being loaded", "It takes a while.", "Try again soon."
            )
        return self.loaded

    def send(self, command: commands.Command, ended: Callable[[], None] | None = None) -> Ticket:
        """Ask the worker for something. Raises Gemma4Error as `Client.send` does."""
        number = self._worker.send(command)
        if number not in self._tickets:  # all frames of an utterance have one
            self._tickets[number] = Ticket(number, ended)
        return self._tickets[number]

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[Event | WorkerEvent]:
        """Answer a request; leaving the iterator cancels within a token or chunk.

        The slot is free as soon as the worker is done, however slowly the events are read.

        Yields:
            Events of the reply, and reports on how far the prompt is read.

        Raises:
            Gemma4Error: too many requests wait, something cannot be read, or the model failed.
            ApiError: a medium is not allowed.
        """
        asked, first = time.perf_counter(), None
        turns = await self.media.turns(request.turns, self.need_model())
        await self._slot()
        settings = replace(self.options.settings, thinking=request.thinking)
        if request.truncates:
            settings = replace(settings, when_full="drop")
        conversation = self._conversation(settings)
        try:
            opened = conversation.open(turns, request.tools, read_ahead=False)
            replied = conversation.answer(
                request.sampling,
                request.grammar,
                must_call=request.must_call,
                may_call=request.tool_choice != "none",
            )
        finally:
            conversation.close()
        done = False
        try:
            await opened.done()
            called = False
            async for event in replied:
                if first is None and isinstance(event, Token | Thought | CallText | ToolCall):
                    first = time.perf_counter() - asked
                if isinstance(event, Done):
                    self.metrics.replied(event.stats, first)
                if not called or isinstance(event, Done):
                    yield event
                if isinstance(event, ToolCall) and not request.parallel:
                    called = True
                    conversation.stop()
            done = True
        finally:
            if not done:
                conversation.stop()

    @asynccontextmanager
    async def conversation(self) -> AsyncGenerator["ServedConversation"]:
        """Wait for a slot, and hold a conversation in it; it is not open yet.

        Raises:
            Gemma4Error: too many wait already.
        """
        self.need_model()
        await self._slot()
        conversation = self._conversation(replace(self.options.settings, thinking=False, park=None))
        try:
            yield conversation
        finally:
            conversation.stop()
            conversation.close()

    def _conversation(self, settings: commands.SessionSettings) -> "ServedConversation":
        name = f"served-{secrets.token_hex(8)}"  # rows are parked under it
        return ServedConversation(self, name, settings)

    async def _slot(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._queue) >= self.options.waiting:
            raise Gemma4Error(
                "server_busy",
                "The server is busy",
                f"{len(self._queue)} requests wait already.",
                "Try again later.",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    def release(self) -> None:
        """Pass a slot to the request that waits longest, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _load(self) -> None:
        ticket = self.send(
            commands.Load(
                self.options.model,
                self.options.force,
                self.options.slots,
                grammars=True,
                drafter=self.options.drafter,
                draft=self.options.draft,
            )
        )
        self._loading = asyncio.ensure_future(self._loaded(ticket))

    async def _loaded(self, ticket: Ticket) -> None:
        try:
            async for event in ticket:
                if isinstance(event, Loaded):
                    self._take_loaded(event)
        except Gemma4Error as error:
            self.failed = error
            if error.code == "worker_closed":  # the server ends
                return
            log.error("The model cannot be loaded: %s", error)

    def _take_loaded(self, event: Loaded) -> None:
        self.loaded, self.failed, self._restarts = event, None, 0

    def _read(self) -> None:
        """Pass the worker's reports to the event loop, from a thread."""
        assert self._loop is not None
        for report in self._worker:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take, report)

    def _take(self, report: Report) -> None:
        event = report.event
        ticket = self._tickets.get(report.command or 0)
        if isinstance(event, Finished | Failed) and ticket is not None:
            del self._tickets[ticket.number]
        if ticket is not None:
            ticket.put(event)
        elif isinstance(event, Loaded):  # by another program's command, see `guest`
            self._take_loaded(event)
        elif isinstance(event, Crashed):
            log.error("%s: %s", event.title, event.cause)
            if self._restarts < RESTARTS:
                self._restarts += 1
                self.metrics.restarted()
                self._worker.start()
                self._load()  # what is sent from now on waits behind it
        elif isinstance(event, Failed):
            log.error("%s: %s %s", event.title, event.cause, event.details)


class ServedConversation:
    """A conversation in a slot.

    Attributes:
        name: the conversation's, for other commands (`Engine.send`).
    """

    def __init__(self, engine: Engine, name: str, settings: commands.SessionSettings) -> None:
        self.name = name
        self._engine = engine
        self._settings = settings

    def open(
        self,
        turns: Sequence[commands.PastTurn] = (),
        tools: Sequence[Schema] = (),
        read_ahead: bool = True,
    ) -> Ticket:
        """Replace its turns and tools; what the caches hold of them is not read again."""
        command = commands.Open(
            tuple(turns), self._settings, tuple(tools), read_ahead, conversation=self.name
        )
        return self._engine.send(command)

    def answer(
        self,
        sampling: Sampling,
        grammar: Schema | None = None,
        must_call: Sequence[str] = (),
        may_call: bool = True,
    ) -> Ticket:
        """Answer what was opened or added; the ticket has the events of the reply."""
        return self._engine.send(
            commands.Reply(
                **vars(sampling),
                grammar=grammar,
                must_call=tuple(must_call),
                may_call=may_call,
                conversation=self.name,
            )
        )

    def stop(self) -> None:
        """Cancel what is being done, within a token or chunk."""
        with suppress(Gemma4Error):  # the worker is gone, and so is what it did
            self._engine.send(commands.Stop(conversation=self.name))

    def close(self) -> None:
        """Close it after all that was sent; then its slot is free."""
        try:
            command = commands.Close(keep=True, conversation=self.name)
            self._engine.send(command, self._engine.release)
        except Gemma4Error:  # the worker is gone, and its slots with it
            self._engine.release()
