"""The states of the program that are drawn by the snapshot tests."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.state import Problem
from mlx_gemma4.events import Token
from mlx_gemma4.runtime.reports import Figures
from tests.app.host import FakeGate, FakeMicrophone, Stage, World, shot, staged

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
THEMES = ("dark", "light")
ANSWER = """The chart colours bars by status, and the third one fell **below its target line.**

- bars 1, 2 and 4 are above target
- bar 3 stops at 620, the line is at 700
"""
LISTING = """# Reading a file

Use `pathlib`:

```python
from pathlib import Path

print(Path("notes.txt").read_text())
```

| call | gives |
|---|---|
| `read_text` | all of it |
| `open` | a line at a time |
"""
LEVELS = (-60, -42, -30, -24, -18, -22, -34, -50, -60, -36, -26, -20, -18, -26, -38, -18)


class QuietMicrophone(FakeMicrophone):
    """Returns seven seconds as fast as they are read, and then nothing more."""

    def __init__(self) -> None:
        super().__init__(seconds=7.0)
        self.pause = 0.001
        self.name = "MacBook Pro Microphone"

    def read(self, timeout: float):  # noqa: ANN201
        frames = super().read(timeout)
        self.level = float(LEVELS[self.left % len(LEVELS)])
        return frames


async def _first(stage: Stage) -> None:
    await stage.until(lambda: "what is the total?" in stage.app.chat.prompt.text)
    await stage.until(lambda: "of 70 image tokens" in stage.text)


async def _talk(stage: Stage) -> None:
    """The main screen: a picture, an answer, and a recording that goes on."""
    await _answer(stage)
    await stage.press("space")
    conversation = stage.app.workspace.conversation
    await stage.until(lambda: conversation.journal.recorded_seconds >= 7)
    await stage.until(lambda: stage.app.chat.voice._levels[-1] == LEVELS[0])
    conversation.watch_recording()  # the last level came before its sound was kept, and no other
    stage.app.chat.draw_lines()


async def _answer(stage: Stage) -> None:
    stage.world.screen = shot(stage.app.workspace.folder.parent)
    await stage.press("f5")
    await stage.until(lambda: stage.app.chat.prompt.text)
    await stage.ask("why is the third bar red?")
    figures = Figures(3_100, 32_768, 10**8, 8_400_000_000, 9_000_000_000)
    stage.app.workspace.conversation.usage = stage.app.workspace.conversation.usage.__class__(
        **vars(figures), speed=31.2
    )
    stage.app.chat.draw_lines()
    await stage.until(lambda: "of 280 image tokens" in stage.text or stage.app.size.height < 30)


async def _listing(stage: Stage) -> None:
    await stage.ask("how do I read a file?")


async def _error(stage: Stage) -> None:
    stage.app.chat.problem(
        Problem(
            "microphone_silent",
            "The microphone is silent",
            "Studio Microphone delivers only zeros: it is muted, not connected, or not the one you "
            "speak into.",
            "Look into the system's sound settings, or choose another microphone in the settings "
            "(F3). Typing, pictures and sound files still work.",
        )
    )
    await stage.until(lambda: "f12 log" in stage.text)


async def _commands(stage: Stage) -> None:
    await stage.press("slash")
    await stage.until(lambda: stage.app.chat.suggestions.display)


async def _palette(stage: Stage) -> None:
    def shown(*words: str) -> bool:
        return all(word in stage.text for word in words)

    while True:  # what is behind it can still be drawn when it opens, and is empty then
        await stage.until(lambda: shown("ready", "^p"))
        await stage.press("ctrl+p")
        await stage.until(lambda: shown("Conversations", "Hands-free"))
        await stage.pilot.pause(0.3)
        if shown("ready", "^p"):
            break
        await stage.press("escape")
    for line in stage.app.screen.query("CommandInput"):
        line.cursor_blink = False  # type: ignore[attr-defined]
    await stage.pilot.pause()


async def _conversations(stage: Stage) -> None:
    for question in ("what is the total?", "why is the third bar red?"):
        await stage.ask(question)
        await stage.press("ctrl+n")
        await stage.until(lambda: not stage.app.workspace.conversation.history.turns)
    for number, saved in enumerate(
        sorted(stage.app.workspace.store.list(), key=lambda one: one.title)
    ):
        when = 1_790_000_000 + 86_400 * number
        path = stage.app.workspace.store.folder / saved.id / "events.jsonl"
        os.utime(path, (when, when))
    await stage.press("ctrl+r")
    await stage.until(lambda: "what is the total" in stage.text)


def _page(name: str, words: str) -> "Callable[[Stage], Awaitable[None]]":
    async def act(stage: Stage) -> None:
        stage.app.do(name)
        await stage.until(lambda: words in stage.text)

    return act


async def _models(stage: Stage) -> None:
    stage.app.do("model")
    await stage.until(lambda: "google/gemma-4-12B-it as 6bit" in stage.text)
    await stage.press("down", "down")
    await stage.until(lambda: "Memory" in stage.text and "recommended" in stage.text)


STATES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "first": _first,
    "talk": _talk,
    "listing": _listing,
    "error": _error,
    "commands": _commands,
    "palette": _palette,
    "keys": _page("help", "Shift+Enter"),
    "models": _models,
    "conversations": _conversations,
    "settings": _page("settings", "screen_tokens"),
    "doctor": _page("doctor", "sudo sysctl"),
}


async def drawn(
    state: str, size: str, theme: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Bring the program into a state and draw it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GEMMA4_PICTURES", "blocks")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("mlx_gemma4.hub.cache.installed", lambda *_: None)
    first = state == "first"
    text = LISTING if state == "listing" else ANSWER
    answer = [Token(text, 1)]
    settings = f'theme = "{theme}"\nimage_tokens = 280\nscreen_tokens = 280\nstop_after = 0.0\n'
    if state == "talk":
        settings += 'model = "gemma-4-12b-4bit"\n'
    world = World(microphone=QuietMicrophone(), gate=FakeGate(10**9))
    async with staged(
        Path(), [answer], SIZES[size], "" if first else settings, first, world
    ) as stage:
        if first:
            stage.app.theme = f"textual-{theme}"
        await STATES[state](stage)
        await stage.app.workers.wait_for_complete(
            [one for one in stage.app.workers if one.name != "_look_at_machine"]
        )
        same, before = 0, ""
        while same < 6:  # layouts come one after another, the slower the busier the machine
            await asyncio.sleep(0.05)
            same, before = (same + 1, before) if stage.text == before else (0, stage.text)
        return stage.app.export_screenshot(title="gemma4")
