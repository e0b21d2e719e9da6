"""The Realtime API on a WebSocket: connects a client, the protocol and the engine."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ...errors import Gemma4Error
from ...events import Done
from ...media.images import Picture
from ...runtime.commands import AddImage, Command
from ...runtime.reports import Failed, Finished, Report
from .. import errors
from ..engine import Engine, ServedConversation, Ticket
from ..fields import image, loaded
from ..leaving import ClientLeftError, while_there
from ..request import Media
from ..routes import known
from . import voice
from .answering import HearingChoice
from .protocol import RealtimeProtocol
from .refusals import error_event, refused

SESSION_SECONDS = 6 * 3600
QUIET_SECONDS = 0.5
"""Seconds without an event of the client after which there is time for a transcript."""
PIECE = 32_000
"""Characters of base64, 0.5 s of sound, after which others get their turn."""
UNFINISHED = 24
"""Commands that may wait; a client that sends more waits itself."""
UNSENT = 64
"""Events that may wait for a slow client; then its answer's voice waits."""
SLOT_SECONDS = 20.0
"""How long a session waits for a slot."""


class RealtimeRoute:
    """`GET /v1/realtime`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def serve(self, socket: WebSocket) -> None:
        """Serve a client until it leaves, or its session expires."""
        held = self._engine.conversation()
        await socket.receive()  # "websocket.connect"
        try:
            entering = while_there(socket.receive, held.__aenter__())
            conversation = await asyncio.wait_for(entering, SLOT_SECONDS)
        except ClientLeftError:
            return
        except (Gemma4Error, TimeoutError) as error:
            await _deny(socket, error)
            return
        try:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept("realtime" if "realtime" in offered else None)
            async with asyncio.timeout(SESSION_SECONDS):
                await RealtimeConnection(socket, self._engine, conversation).serve()
        except TimeoutError:
            await socket.close(1000, "The session has expired.")
        finally:
            await held.__aexit__(None, None, None)


class RealtimeConnection:
    """One client, whose socket was accepted, and whose conversation holds a slot."""

    def __init__(self, socket: WebSocket, engine: Engine, conversation: ServedConversation) -> None:
        self._socket, self._engine = socket, engine
        self._name = conversation.name
        options = engine.options
        hearing: HearingChoice = options.settings.hearing if options.live else "off"
        self._protocol = RealtimeProtocol(
            engine.name,
            self._name,
            self._picture,
            replace(options.settings, live=True),
            hearing,
            speaks=voice.program() is not None,
            expires_at=int(time.time()) + SESSION_SECONDS,
        )
        self._pictures: dict[str, Picture] = {}  # of the event that is taken now, by their fields
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._pumps: dict[int, asyncio.Task[None]] = {}
        self._refused = 0
        self._to_speak = asyncio.Event()
        self._quiet: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        """Take what the client sends until it leaves."""
        self._flush()
        others = [asyncio.create_task(work()) for work in (self._send, self._speak)]
        try:
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                await self._take(message.get("text") or message.get("bytes") or "")
        finally:
            if self._quiet is not None:
                self._quiet.cancel()
            for task in [*others, *self._pumps.values()]:
                task.cancel()

    async def _take(self, message: str | bytes) -> None:
        try:
            event = loaded(message.encode() if isinstance(message, str) else message)
        except (ValueError, RecursionError):
            event = None
        for piece in _pieces(event):
            await self._read_pictures(piece)
            self._flush()
            await asyncio.sleep(0)
        while len(self._pumps) > UNFINISHED:
            await asyncio.wait(self._pumps.values(), return_when=asyncio.FIRST_COMPLETED)
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._rest)

    async def _read_pictures(self, event: object) -> None:
        """Handle an event, after reading its pictures: that takes long, and runs in threads."""
        try:
            for picture in _pictures(event):
                read = await self._engine.media.picture(picture, self._engine.need_model())
                self._pictures[picture.param] = read
            self._protocol.receive(event)
        except Exception as error:  # a defect, too, leaves the session
            self._refuse(error, event.get("event_id") if isinstance(event, dict) else None)
        self._pictures.clear()

    def _refuse(self, error: Exception, client_event: object = None) -> None:
        found = known(error)
        refusal = refused(found.code, found.message, "", found.param or "")
        named = None if client_event is None else str(client_event)
        self._protocol.refuse(error_event(refusal, named))

    def _picture(self, url: str, param: str) -> AddImage:
        return AddImage(self._pictures[param])

    def _rest(self) -> None:
        self._protocol.answers.transcribe()
        self._flush()

    def _flush(self) -> None:
        """Send the events and commands that the protocol has made."""
        events, commands = self._protocol.take()
        while events or commands:
            for event in events:
                self._outgoing.put_nowait(json.dumps(event, ensure_ascii=False))
            for command in commands:
                self._command(command)
            events, commands = self._protocol.take()
        if self._protocol.response is not None and self._protocol.response.unspoken:
            self._to_speak.set()

    def _command(self, command: Command) -> None:
        try:
            ticket = self._engine.send(command)
        except Gemma4Error as error:
            self._refused -= 1
            self._protocol.answers.sent(self._refused, command)
            self._report(self._refused, Failed.of(error))
            return
        self._protocol.answers.sent(ticket.number, command)
        if ticket.number not in self._pumps:  # all frames of an utterance have one
            pump = self._pumps[ticket.number] = asyncio.create_task(self._pump(ticket))
            pump.add_done_callback(lambda _: self._pumps.pop(ticket.number, None))

    async def _pump(self, ticket: Ticket) -> None:
        """Pass the reports about a command to the protocol."""
        try:
            async for event in ticket:
                if isinstance(event, Done):
                    first = event.stats.get("seconds_to_first_token")
                    self._engine.metrics.replied(event.stats, first)
                self._report(ticket.number, event)
                self._flush()
        except Gemma4Error as error:
            self._report(ticket.number, Failed.of(error))
        else:
            self._report(ticket.number, Finished())
        self._flush()

    def _report(self, number: int, event: Any) -> None:
        try:
            self._protocol.answers.report(Report(number, event, self._name))
        except Exception as error:  # in a task that nobody waits for
            self._refuse(error)

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the client has left
            while True:
                await self._socket.send_text(await self._outgoing.get())

    async def _speak(self) -> None:
        """Speak the sentences of responses, one after another."""
        while True:
            await self._to_speak.wait()
            self._to_speak.clear()
            while (response := self._protocol.response) is not None and response.unspoken:
                text = response.unspoken.popleft()
                try:
                    pcm = await voice.spoken(text, *self._protocol.voice)
                except Exception as error:  # in a task that nobody waits for
                    known(error)
                    self._protocol.answers.failed(response, Failed.of(error).error())
                    self._flush()
                    break
                size = PIECE // 4 * 3
                pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)] or [b""]
                for number, piece in enumerate(pieces, 1):
                    while self._outgoing.qsize() > UNSENT:
                        await asyncio.sleep(0.02)
                    self._protocol.answers.sound(response, piece, number == len(pieces))
                    self._flush()


def _pieces(event: object) -> list[object]:
    """Return an event in a list; a long sound is cut into several."""
    if isinstance(event, dict) and event.get("type") == "input_audio_buffer.append":
        audio = event.get("audio")
        if isinstance(audio, str) and len(audio) > PIECE:
            audio = "".join(audio.split())  # else a piece might end within a byte
            cuts = range(0, len(audio), PIECE)
            return [{**event, "audio": audio[at : at + PIECE]} for at in cuts]
    return [event]


def _pictures(event: object) -> list[Media]:
    match event:
        case {"type": "conversation.item.create", "item": {"content": list() | dict() as content}}:
            return [
                image(part["image_url"], part.get("detail"), f"item.content[{number}].image_url")
                for number, part in enumerate(content if isinstance(content, list) else [content])
                if isinstance(part, dict)
                and part.get("type") == "input_image"
                and isinstance(part.get("image_url"), str)
            ]
    return []


async def _deny(socket: WebSocket, error: Exception) -> None:
    """Refuse a client before the upgrade, with a status."""
    if isinstance(error, TimeoutError):
        error = errors.ApiError(429, "All slots are in use.", "server_busy")
    refusal = errors.of(error)
    if socket.application_state is WebSocketState.CONNECTING:
        answer = JSONResponse(refusal.body, refusal.status, refusal.headers)
        await socket.send_denial_response(answer)
