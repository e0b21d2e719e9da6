"""Reading an engine's reports in tests: nothing waits for ever."""

from typing import Any

from mlx_gemma4.events import Token
from mlx_gemma4.runtime.client import Port
from mlx_gemma4.runtime.commands import Command
from mlx_gemma4.runtime.reports import Failed, Finished, Report

PATIENCE = 60.0


def read(engine: Port) -> Report:
    """The next report."""
    report = engine.read(PATIENCE)
    assert report is not None, "nothing was told"
    return report


def first(engine: Port, kind: type) -> Report:
    """The first report of such an event; those before it are passed over."""
    while not isinstance((report := read(engine)).event, kind):
        pass
    return report


def until(engine: Port, number: int) -> list[Report]:
    """All reports until a command is done; its failure is raised."""
    reports: list[Report] = []
    while not reports or reports[-1].command != number or reports[-1].event != Finished():
        reports.append(read(engine))
        if reports[-1].command == number and isinstance(reports[-1].event, Failed):
            raise reports[-1].event.error()
    return reports


def done(engine: Port, command: Command) -> list[Any]:
    """Do a command; the events that answer it."""
    number = engine.send(command)
    return [report.event for report in until(engine, number) if report.command == number]


def answer(events: list[Any]) -> str:
    """The text of a reply."""
    return "".join(event.text for event in events if isinstance(event, Token))
