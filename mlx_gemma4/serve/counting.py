"""Counts the tokens of a request without the worker, which may be busy."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ..chat.messages import TextPart, Turn
from ..chat.render import render
from ..chat.tokenizer import Tokenizer
from ..model.config import Config, load_config
from ..runtime.commands import PastTurn
from ..runtime.past import MediaCache, turns_of
from .engine import Engine
from .request import ReplyRequest, Schema


class TokenCounter:
    """Counts with a tokenizer of its own, which is read at the first request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self._read: tuple[Tokenizer, Config] | None = None

    async def count(self, request: ReplyRequest) -> int:
        """Count the tokens of a request's prompt.

        Raises:
            Gemma4Error: it is malformed, or the model is not loaded.
            ApiError: a medium cannot be read.
        """
        loaded = self._engine.need_model()
        turns = await self._engine.media.turns(request.turns, loaded)
        async with self._lock:
            if self._read is None:
                self._read = await asyncio.to_thread(_read, Path(loaded.model))
            return await asyncio.to_thread(
                self._count, turns, request.tools, request.thinking, loaded.image_tokens
            )

    def _count(
        self, past: Sequence[PastTurn], tools: Sequence[Schema], thinking: bool, tokens: int
    ) -> int:
        assert self._read is not None
        tokenizer, config = self._read
        turns, _ = turns_of(past, MediaCache(), config, tokens)
        system = self._engine.options.settings.system
        if system and not any(turn.role == "system" for turn in turns):
            turns.insert(0, Turn("system", (TextPart(system),)))
        return len(render(turns, tokenizer, config, thinking=thinking, tools=tools).token_ids)


def _read(folder: Path) -> tuple[Tokenizer, Config]:
    return Tokenizer.from_folder(folder), load_config(folder)
