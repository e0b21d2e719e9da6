"""A client that shares the worker of another one: the terminal program's server uses its worker.

One process holds the model. The server's commands go to the same worker, for conversations with
names of their own, and whoever reads that worker's reports hands over those for the server.
"""

import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..errors import Gemma4Error
from ..runtime.client import Client
from ..runtime.commands import Close, Command, InConversation, Load, Stop
from ..runtime.reports import Closed, Crashed, Failed, Finished, Loaded, Report


class GuestClient(Client):
    """A client over another one, which it neither starts nor closes.

    Args:
        host: the client whose worker does the work.
    """

    def __init__(self, host: Client) -> None:
        super().__init__()
        self._host = host
        self._ended: Loaded | Failed | None = None  # how the host's own load has
        self._own: set[int] = set()  # the server's commands that are not finished
        self._open: set[str] = set()
        self._loads: list[int] = []  # loads that wait until the host has loaded
        self._numbers = itertools.count(-1, -1)  # ids of commands that the host is not sent
        self._sending = threading.RLock()

    def start(self) -> None:
        """Do nothing: whoever has the host starts it again."""

    def send(self, command: Command) -> int:
        """Ask for something, as `Client.send` does.

        A `Load` loads nothing: it is answered as the host's own is, as soon as that has ended.
        """
        with self._sending:  # no report about it is taken before its number is known
            if isinstance(command, Load):
                number = next(self._numbers)
                self._loads.append(number)
                self._answer_loads()
                return number
            number = self._host.send(command)
            self._own.add(number)
            if isinstance(command, Close):
                self._open.discard(command.conversation)
            elif isinstance(command, InConversation):
                self._open.add(command.conversation)
            return number

    def take(self, reports: Sequence[Report]) -> list[Report]:
        """Take what is for the server; return the rest, in order."""
        with self._sending:
            return [report for report in reports if not self._take(report)]

    def close(self) -> None:
        """Cancel and close the server's conversations; the host goes on."""
        with self._sending:
            with suppress(Gemma4Error):  # the host has ended
                for name in self._open:
                    self._own.add(self._host.send(Stop(conversation=name)))
                    self._own.add(self._host.send(Close(conversation=name)))
            with self._lock:
                self._closing = True
            self._report(Report(None, Closed()))

    def _take(self, report: Report) -> bool:
        event = report.event
        if report.command in self._own:
            if isinstance(event, Finished | Failed):
                self._own.discard(report.command or 0)
            if not self._closing:
                self._report(report)
            return True
        its_load = report.command is not None and report.conversation is None
        lost = isinstance(event, Failed) and event.code == "worker_crashed"  # it may load again
        if isinstance(event, Loaded) or (isinstance(event, Failed) and its_load and not lost):
            self._ended = event
            if isinstance(event, Loaded) and not self._loads:  # they failed as one before it did
                self._report(Report(None, event))
            self._answer_loads()
        elif isinstance(event, Crashed):
            self._ended = None
            self._open.clear()
            if not self._closing:
                self._report(report)
        return report.command is None and report.conversation in self._open

    def _answer_loads(self) -> None:
        if self._ended is None:
            return
        for number in self._loads:
            self._report(Report(number, self._ended))
            if isinstance(self._ended, Loaded):
                self._report(Report(number, Finished()))
        self._loads.clear()

    def _accept(self, number: int, command: Command) -> None:
        """Nothing comes here: `send` passes all on."""
