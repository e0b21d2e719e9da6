"""Commands that an engine was given: whom each one is about, and what to do when it is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.client import Port
from mlx_gemma4.runtime.commands import AddImage, AddSound, AddText, AddVideo, Command, Forget, Mark
from mlx_gemma4.runtime.commands import Settings as EngineSettings
from mlx_gemma4.runtime.reports import Failed, Marked, Report

from ..settings import Settings
from .entries import Attachment


@dataclass(eq=False)
class Exchange:
    """A question and its answer, and the marks in the engine's conversation that lead back to them.

    Attributes:
        question: the turn's id; 0 while it is being made.
        answer: the same.
        begin: the mark before anything of the question was added; None while it is not known.
        ask: the mark after all of it, before the reply.
        over: the reply is finished.
        again: it is not the first reply.
        gone: nobody goes back to it any more.
    """

    question: int = 0
    answer: int = 0
    begin: int | None = None
    ask: int | None = None
    over: bool = False
    again: bool = False
    gone: bool = False


Place = Literal["begin", "ask"]
"""Of an exchange: the marks of these names."""
Then = Callable[[Failed | None], set[int]]
"""What to do when a command is done, or failed; gives the ids of the turns that changed."""


@dataclass(eq=False)
class PendingCommand:
    """A command that waits to be done; what its reports are about."""

    then: Then
    exchange: Exchange | None = None
    attachment: int = 0
    turn: int = 0
    place: Place | None = None


class PendingCommands:
    """What an engine was given and has not done yet."""

    def __init__(self, engine: Port) -> None:
        self._engine = engine
        self._open: dict[int, PendingCommand] = {}

    def give(self, command: Command, order: PendingCommand) -> set[int]:
        """Send a command; where the engine does not take it, it has failed."""
        try:
            self._open[self._engine.send(command)] = order
        except Gemma4Error as error:
            return order.then(Failed.by(error))
        return set()

    def __len__(self) -> int:
        """How many are not done."""
        return len(self._open)

    def of(self, report: Report) -> PendingCommand | None:
        """Give the order that a report answers."""
        return None if report.command is None else self._open.get(report.command)

    def done(self, report: Report) -> set[int]:
        """Close the order that a last report answers."""
        order = None if report.command is None else self._open.pop(report.command, None)
        failed = report.event if isinstance(report.event, Failed) else None
        return set() if order is None else order.then(failed)

    def mark(self, exchange: Exchange, place: Place) -> None:
        """Mark a place of an exchange."""
        self.give(Mark(), PendingCommand(_ignored, exchange=exchange, place=place))

    def marked(self, order: PendingCommand, event: Marked) -> None:
        """Take the number of a mark."""
        exchange = order.exchange
        assert exchange is not None
        if exchange.gone:
            self.give(Forget(event.mark), PendingCommand(_ignored))
        elif order.place == "ask":
            exchange.ask = event.mark
        else:
            exchange.begin = event.mark

    def forget(self, exchange: Exchange | None) -> None:
        """Let go of an exchange's marks."""
        if exchange is None or exchange.gone:
            return
        exchange.gone = True
        for mark in (exchange.begin, exchange.ask):
            if mark is not None:
                self.give(Forget(mark), PendingCommand(_ignored))


def _ignored(_: Failed | None) -> set[int]:
    return set()


def adding(attachment: Attachment, folder: Path) -> Command:
    """Give the command that lets the model have an attachment.

    Args:
        attachment: what to add.
        folder: where its files are, unless they have a path of their own.

    Raises:
        OSError: a text cannot be read.
    """
    path = folder / attachment.file
    match attachment.kind:
        case "image":
            return AddImage(path, attachment.budget)
        case "sound":
            return AddSound(path)
        case "video":
            film = [(seconds, folder / file) for seconds, file in attachment.frames]
            return AddVideo(film or path)
        case "text":
            content = path.read_text(encoding="utf-8", errors="replace")
            return AddText(f"{attachment.name}:\n{content}\n")


def engine_settings(settings: Settings) -> EngineSettings:
    """Give the part of the settings that is the engine's."""
    return EngineSettings(
        system=settings.system or None,
        image_tokens=settings.image_tokens,
        hearing=settings.hearing,
        kv_bits=settings.kv_bits or None,
        thinking=settings.thinking,
        when_full=settings.when_full,
    )
