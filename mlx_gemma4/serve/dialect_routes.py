"""The routes of Responses, Messages and transcriptions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..chat.messages import INSTRUCTION, SoundPart
from ..events import Heard, Token
from ..hub.catalog import package_of
from ..media.audio import FRAME, RATE
from ..runtime.commands import AddText, PastTurn
from . import messages, responses, transcriptions
from .counting import TokenCounter
from .engine import Engine
from .errors import ApiError
from .leaving import unless_gone, while_there
from .request import ReplyRequest, Sampling
from .routes import Chunks, EventStream, body_of, chunks, sse

PING = sse({"type": "ping"}, "ping")
SPARE = 16  # tokens that a transcript may have besides one for each two frames


class DialectRoutes:
    """The routes of an engine for all dialects but chat completions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counter = TokenCounter(engine)

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/v1/responses", self.responses, methods=["POST"]),
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", self.count_tokens, methods=["POST"]),
            Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
        ]

    async def responses(self, http: HttpRequest) -> Response:
        self._engine.need_model()
        request = await asyncio.to_thread(responses.parse, await body_of(http))
        reply = responses.ResponseStream(request, self._engine.name)
        if not request.stream:
            await self._read(http, request, reply)
            return JSONResponse(reply.whole())

        def failure(error: ApiError) -> str:
            return "".join(sse(event, event["type"]) for event in reply.failed(error))

        return await EventStream(self._typed(request, reply), failure).start(http)

    async def messages(self, http: HttpRequest) -> Response:
        self._engine.need_model()
        request = await asyncio.to_thread(messages.parse, await body_of(http))
        reply = messages.MessageStream(self._engine.name)
        if not request.stream:
            await self._read(http, request, reply)
            return JSONResponse(reply.whole())
        made = self._typed(request, reply)
        stream = EventStream(made, lambda e: sse(messages.error_body(e), "error"), PING)
        return await stream.start(http)

    async def count_tokens(self, http: HttpRequest) -> Response:
        request = await asyncio.to_thread(messages.parse, await body_of(http), answered=False)
        counted = await while_there(http.receive, self._counter.count(request))
        return JSONResponse({"input_tokens": counted})

    async def transcribe(self, http: HttpRequest) -> Response:
        loaded = self._engine.need_model()
        if not loaded.hears:
            raise ApiError(400, "This model takes no sound.", "medium_unsupported", "file")
        async with http.form(max_files=1, max_fields=50) as form:
            file = form.get("file")
            content = await file.read() if isinstance(file, UploadFile) else None
            given = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        request = transcriptions.parse(given, content)
        package = await asyncio.to_thread(package_of, Path(loaded.model))
        safe = package.audio_safe_position if package else None
        clips = await asyncio.to_thread(transcriptions.clips_of, request.content, safe)
        instruction = (package and package.transcribe) or INSTRUCTION
        if request.language:
            instruction += f"\nThe language is: {request.language}"
        segments: list[transcriptions.Segment] = []
        heard = self._heard(request, instruction, clips)
        async for text, frames in unless_gone(http.receive, heard):
            start = segments[-1].end if segments else 0.0
            seconds = frames * FRAME / RATE
            segments.append(transcriptions.Segment(start, round(start + seconds, 2), text))
        answer = transcriptions.answer(request, segments)
        return PlainTextResponse(answer) if isinstance(answer, str) else JSONResponse(answer)

    async def _heard(
        self, request: transcriptions.TranscriptionRequest, instruction: str, clips: list[Any]
    ) -> AsyncGenerator[tuple[str, int]]:
        """Yield the transcript of each clip, and how many frames it has."""
        async with self._engine.conversation() as conversation:
            for clip in clips:
                turn = PastTurn("user", (AddText(instruction), SoundPart(clip)))
                opened = conversation.open([turn])
                sampling = Sampling(len(clip) // 2 + SPARE, request.temperature)
                replied = conversation.answer(sampling)
                await opened.done()
                text = ""
                async for event in replied:
                    if isinstance(event, Heard) and event.relayed:
                        text = event.text  # it was transcribed first: this is the transcript
                        conversation.stop()
                        break
                    text += event.text if isinstance(event, Token) else ""
                yield text.strip(), len(clip)

    async def _read(self, http: HttpRequest, request: ReplyRequest, reply: Chunks) -> None:
        """Pass all events of the reply to a request on to `reply`."""
        async for event in unless_gone(http.receive, self._engine.reply(request)):
            reply.on(event)
        reply.end()

    async def _typed(self, request: ReplyRequest, reply: Chunks) -> AsyncGenerator[str]:
        """Yield a reply's chunks as server-sent events named by their type."""
        async with aclosing(chunks(self._engine, request, reply)) as made:
            async for chunk in made:
                yield sse(chunk, chunk["type"])
