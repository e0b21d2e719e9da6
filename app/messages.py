"""What threads report to the screens, and what screens ask of the program."""

from textual.message import Message

from mlx_gemma4.runtime.reports import Report

from .devices.recording import VoiceEvent
from .devices.screen_watcher import ScreenChanged, WatchFailed
from .state import Problem


class Reports(Message):
    """What the worker has reported, in order: many at once, for it may be thousands a second."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__()
        self.reports = reports


class DeviceEvent(Message):
    """What the microphone or the watched screen reports."""

    def __init__(self, event: VoiceEvent | ScreenChanged | WatchFailed) -> None:
        super().__init__()
        self.event = event


class JobChanged(Message):
    """A model that is on its way has come further, or has ended."""

    def __init__(self, ended: bool) -> None:
        super().__init__()
        self.ended = ended


class SpeechChanged(Message):
    """Reading aloud has started, ended, or met a problem."""


class RunCommand(Message):
    """A command of the table is to be done."""

    def __init__(self, command: str, argument: str = "") -> None:
        super().__init__()
        self.command, self.argument = command, argument


class StartJob(Message):
    """A model is to be brought here; an empty recipe is the recommended one."""

    def __init__(self, model: str, recipe: str = "") -> None:
        super().__init__()
        self.model, self.recipe = model, recipe


class ShowProblem(Message):
    """Something went wrong elsewhere: the chat shows it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class SettingsChanged(Message):
    """Colours or keys may be others now."""
