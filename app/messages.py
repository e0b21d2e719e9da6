"""What threads report to the screens, and what screens ask of the program."""

from dataclasses import dataclass

from textual.message import Message

from mlx_gemma4.runtime.reports import Report

from .state import Problem


@dataclass
class Reports(Message):
    """What the worker has reported, in order: many at once, for it may be thousands a second."""

    reports: list[Report]


@dataclass
class RunCommand(Message):
    """A command of the table is to be done."""

    command: str
    argument: str = ""


@dataclass
class StartJob(Message):
    """A model is to be brought here; an empty recipe is the recommended one."""

    model: str
    recipe: str = ""


@dataclass
class ShowProblem(Message):
    """Something went wrong elsewhere: the chat shows it."""

    problem: Problem
