"""The whole program over a scripted worker and fake devices, for tests."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from textual._wait import wait_for_idle
from textual.pilot import Pilot

from app.app import TerminalApp
from app.conversation.store import ConversationStore
from app.devices.machine import DoctorFinding
from app.devices.screen import Shot
from app.devices.system import Devices
from app.devices.voices import SystemVoice
from app.workspace import Workspace
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.runtime.live import Gate
from mlx_gemma4.runtime.reports import Report
from mlx_gemma4.testing.scripted_worker import Answer, ScriptedWorker

STATS = {
    "prompt_tokens": 300.0,
    "new_prompt_tokens": 300.0,
    "prompt_tokens_per_second": 333.0,
    "reply_tokens": 142.0,
    "seconds_to_first_token": 0.9,
    "tokens_per_second": 31.2,
}
COUNTED = " ".join(["and", "on"] * 60 + ["ninety"])
"""Words at the end of an answer that must not end before a busy machine has interrupted it."""
NOW = 1_790_000_000.0
FINDINGS = [
    DoctorFinding("ok", "python", "mlx-gemma4 0.1.0 on Python 3.12, arm64"),
    DoctorFinding("ok", "mlx", "mlx 0.32.4, mlx-metal 0.32.4"),
    DoctorFinding("warning", "microphone", "there is none", "Plug one in."),
    DoctorFinding(
        "problem", "wired limit", "30.0 GB of 32.0 GB", "sudo sysctl iogpu.wired_limit_mb=0"
    ),
]


class StillWorker(ScriptedWorker):
    """A ScriptedWorker whose figures of speed are always the same."""

    def _report(self, report: Report) -> None:
        if isinstance(report.event, Done):
            report = replace(report, event=Done(report.event.reason, STATS))
        super()._report(report)


class FakeMicrophone:
    """Returns 40 ms of a tone at each read, for so many seconds."""

    name = "Studio Microphone"
    level = -18.0
    pause = 0.01

    def __init__(self, seconds: float = 1e9, silent: bool = False) -> None:
        self.silent_seconds = 1.0 if silent else 0.0
        self.closed = False
        self.left = round(seconds * 25)
        self.problem: Gemma4Error | None = None

    def read(self, timeout: float) -> NDArray[np.float32]:
        time.sleep(self.pause)
        if self.problem is not None:
            raise self.problem
        self.left -= 1
        level = 0.0 if self.silent_seconds else 0.1
        return np.full((1 if self.left >= 0 else 0, 640), level, np.float32)

    def close(self) -> None:
        self.closed = True


class FakeGate:
    """Opens with the first frame, and ends the utterance after so many."""

    def __init__(self, frames: int) -> None:
        self.open, self._left, self.shuts = False, frames, 0

    def shut(self) -> None:
        self.open = False
        self.shuts += 1

    def add(self, frames: NDArray[np.float32]) -> list[NDArray[np.float32] | None]:
        if self._left <= 0:
            self.open = False
            return []
        self._left -= len(frames)
        self.open = self._left > 0
        return [frames] if self.open else [frames, None]


@dataclass
class World:
    """Fake devices; tests change what they return."""

    microphone: FakeMicrophone = field(default_factory=FakeMicrophone)
    gate: Gate = field(default_factory=lambda: FakeGate(10**9))
    screen: Shot | Gemma4Error | None = None
    clipboard: Shot | list[Path] | str | None = None
    voice: list[str] | Gemma4Error = field(default_factory=lambda: ["cat"])
    machine: Machine | None = field(
        default_factory=lambda: Machine("this Mac", 24 * 10**9, "what Metal recommends", "metal")
    )

    def devices(self) -> Devices:
        def capture(_: str) -> Shot | None:
            if isinstance(self.screen, Gemma4Error):
                raise self.screen
            return self.screen

        def voice(*_: object) -> list[str]:
            if isinstance(self.voice, Gemma4Error):
                raise self.voice
            return self.voice

        def microphone(_: str) -> FakeMicrophone:
            if self.microphone.problem is not None:
                raise self.microphone.problem
            return self.microphone

        return Devices(
            microphone=microphone,
            gate=lambda hands_free, stop_after: self.gate,
            capture=capture,
            clipboard=lambda: self.clipboard,
            voice=voice,
            voices=lambda: [SystemVoice("Ava (Premium)", "en_US", True)],
            machine=lambda: self.machine,
            findings=lambda: FINDINGS,
            now=lambda: NOW,
        )


@dataclass
class Stage:
    """A program that runs."""

    app: TerminalApp
    pilot: Pilot[None]
    engine: ScriptedWorker
    world: World

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until this holds."""
        for _ in range(round(seconds / 0.02)):
            if condition():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it did not come to that:\n{self.text}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Type words."""
        self.app.chat.prompt.insert(text)
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Type words, and press Enter."""
        await self.write(text)
        await self.press("enter")

    async def start(self, text: str) -> None:
        """Ask, and wait until it is answered, but not for the end."""
        await self.send(text)
        await self.until(lambda: self.app.workspace.conversation.state == "answering")

    async def ask(self, text: str) -> None:
        """Ask, and wait for the whole answer."""
        await self.write(text)
        turns = len(self.app.workspace.conversation.history.turns)
        await self.press("enter")
        history = self.app.workspace.conversation.history
        await self.until(lambda: len(history.turns) == turns + 2)
        await self.until(lambda: history.turns[max(history.turns)].over)
        answer = self.app.chat.transcript.answer(max(history.turns))
        await self.until(lambda: answer is None or answer.settled)

    @property
    def text(self) -> str:
        """What the screen shows, line by line."""
        width = self.app.size.width
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.crop(0, width).text.rstrip() for strip in lines)


def recorded(stage: Stage, seconds: float) -> bool:
    """Whether so much of what is spoken was recorded."""
    recording = stage.app.workspace.conversation.recording
    return recording is not None and recording.seconds >= seconds


@contextlib.asynccontextmanager
async def staged(
    folder: Path,
    answers: Sequence[Answer] = ("Yes.",),
    size: tuple[int, int] = (100, 30),
    settings: str = "",
    first: bool = False,
    world: World | None = None,
    **engine: Any,
) -> AsyncIterator[Stage]:
    """Run the program in a folder; `first` lets it be the first run."""
    place = folder / "config"
    if not first:
        place.mkdir(parents=True, exist_ok=True)
        path = place / "settings.toml"
        if not path.exists():
            path.write_text(settings)
    world = world or World()
    fake = StillWorker(answers, **engine)
    store = ConversationStore(folder / "conversations")
    app = TerminalApp(Workspace(fake, store, place, world.devices()))
    # at each key Textual waits a second for a program that never rests, as while it records
    rest = functools.partial(wait_for_idle, max_sleep=0.1)
    async with contextlib.AsyncExitStack() as stack:
        for caller in ("textual.app", "textual.pilot"):
            stack.enter_context(mock.patch(f"{caller}.wait_for_idle", rest))
        stack.callback(app.end_worker)
        pilot = await stack.enter_async_context(app.run_test(size=size, notifications=True))
        stage = Stage(app, pilot, fake, world)
        await stage.until(
            lambda: app.workspace.conversation.state == "ready" and app.workspace.machine
        )
        app.chat.prompt.cursor_blink = False
        yield stage


def live(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine; one that hangs fails."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 90))

    return run


def chart(folder: Path) -> Path:
    """Draw a bar chart as a picture file of 1280x800 pixels."""
    image = Image.new("RGB", (1280, 800), "#1b2233")
    colours = ("#e0b040", "#45cfa5", "#d9635c", "#6b8fe0")
    for number, (colour, height) in enumerate(zip(colours, (430, 470, 500, 560), strict=True)):
        left = 290 + 235 * number
        image.paste(colour, (left, 720 - height, left + 190, 720))
    path = folder / "chart.png"
    image.save(path)
    return path


def shot(folder: Path, name: str = "window") -> Shot:
    """The same as a picture of the screen."""
    return Shot(Image.open(chart(folder)).convert("RGB"), name)
