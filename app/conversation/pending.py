"""Commands that a worker was sent and has not finished: what each is about, and what follows it."""

from collections.abc import Callable
from dataclasses import dataclass

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.commands import Command
from mlx_gemma4.runtime.reports import Failed, Report

Then = Callable[[Failed | None], set[int]]
"""What to do when a command is finished, or failed; returns the ids of the turns that changed."""


@dataclass(frozen=True, eq=False)
class PendingCommand:
    """What the reports of a command are about: a turn, an attachment, or neither (0)."""

    then: Then
    turn: int = 0
    attachment: int = 0


class PendingCommands:
    """What a worker was sent and has not finished yet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: dict[int, PendingCommand] = {}

    def send(self, command: Command, pending: PendingCommand) -> set[int]:
        """Send a command; where the worker does not accept it, it has failed."""
        try:
            self._open[self._client.send(command)] = pending
        except Gemma4Error as error:
            return pending.then(Failed.of(error))
        return set()

    def __len__(self) -> int:
        """How many are not finished."""
        return len(self._open)

    def of(self, report: Report) -> PendingCommand | None:
        """The command that a report answers; None where it was not sent here."""
        return None if report.command is None else self._open.get(report.command)

    def finish(self, report: Report) -> set[int]:
        """Close the command that a last report answers."""
        pending = None if report.command is None else self._open.pop(report.command, None)
        failed = report.event if isinstance(report.event, Failed) else None
        return set() if pending is None else pending.then(failed)
