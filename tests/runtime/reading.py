"""Reading a worker's reports in tests: nothing waits for ever."""

from typing import Any

from mlx_gemma4.events import Done, Token
from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.commands import Command, SessionSettings
from mlx_gemma4.runtime.reports import Failed, Finished, Report

PATIENCE = 60.0
SETTINGS = SessionSettings(image_tokens=70)


def read(worker: Client) -> Report:
    """The next report."""
    report = worker.read(PATIENCE)
    assert report is not None, "nothing was reported"
    return report


def first(worker: Client, kind: type) -> Report:
    """The first report of such an event; those before it are passed over."""
    while not isinstance((report := read(worker)).event, kind):
        pass
    return report


def until(worker: Client, number: int) -> list[Report]:
    """All reports until a command is done; its failure is raised."""
    reports: list[Report] = []
    while not reports or reports[-1].command != number or reports[-1].event != Finished():
        reports.append(read(worker))
        if reports[-1].command == number and isinstance(reports[-1].event, Failed):
            raise reports[-1].event.error()
    return reports


def done(worker: Client, command: Command) -> list[Any]:
    """Do a command; the events that answer it."""
    number = worker.send(command)
    return [report.event for report in until(worker, number) if report.command == number]


def answer(events: list[Any]) -> str:
    """The text of a reply."""
    return "".join(event.text for event in events if isinstance(event, Token))


def end_of(events: list[Any]) -> Done:
    (end,) = [event for event in events if isinstance(event, Done)]
    return end
