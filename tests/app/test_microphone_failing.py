"""A microphone, or the worker that hears, that fails while somebody speaks."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from app.conversation.journal import RECORDING
from app.widgets.card import ErrorCard
from mlx_gemma4.errors import Gemma4Error
from tests.app.host import (
    COUNTED,
    FakeGate,
    FakeMicrophone,
    Stage,
    World,
    live,
    recorded,
    staged,
)


def stopped() -> Gemma4Error:
    return Gemma4Error(
        "microphone_stopped", "The microphone has stopped", "Nothing came.", "Look at it."
    )


@live
async def test_a_microphone_that_gives_only_zeros_is_told_and_goes_on(tmp_path: Path) -> None:
    world = World(microphone=FakeMicrophone(silent=True))
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: "The microphone is silent" in stage.text)
        assert "Typing, pictures and sound files" in stage.text
        assert stage.app.workspace.conversation.recording is not None


@live
async def test_a_microphone_that_cannot_be_opened_is_a_card(tmp_path: Path) -> None:
    world = World()
    world.microphone.problem = Gemma4Error(
        "microphone_missing", "There is no microphone", "None.", "See the settings."
    )
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: "There is no microphone" in stage.text)
        assert "f3 settings" in stage.text
        assert not stage.app.chat.voice.active


@pytest.mark.parametrize("end", ["failure", "escape", "f4"])
@live
async def test_a_queued_question_is_asked_where_talking_did_not_start(
    tmp_path: Path, end: str
) -> None:
    fails = threading.Event()

    def microphone(_: str) -> NoReturn:
        fails.wait(20)
        raise Gemma4Error("microphone_missing", "There is no microphone", "None.", "Plug it in.")

    async with staged(tmp_path, [COUNTED, "Second."], tokens_per_second=20) as stage:
        workspace = stage.app.workspace
        workspace.devices = replace(workspace.devices, microphone=microphone)
        await stage.start("count")
        await stage.send("and now?")
        await stage.press("f4")
        await stage.until(lambda: not workspace.conversation.pending)
        assert stage.app.chat.queued == ["and now?"]
        if end == "failure":
            fails.set()
        else:
            await stage.press(end)
        await stage.until(lambda: "Second." in stage.text)
        fails.set()


@live
async def test_a_microphone_that_goes_is_opened_again_and_the_recording_kept(
    tmp_path: Path,
) -> None:
    world = World()
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.2))
        old, world.microphone = world.microphone, FakeMicrophone()
        old.problem = stopped()
        await stage.until(lambda: "The microphone has stopped" in stage.text)
        await stage.until(lambda: recorded(stage, 0.6))


@live
async def test_a_microphone_that_stays_away_ends_the_recording_and_keeps_what_came(
    tmp_path: Path,
) -> None:
    world = World()
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.2))
        world.microphone.problem = stopped()
        conversation = stage.app.workspace.conversation
        await stage.until(lambda: conversation.recording is None)
        assert conversation.state == "ready" and not stage.app.chat.voice.active
        await stage.until(lambda: "f3 settings" in stage.text)
        assert "● rec" not in stage.text and "listening" not in stage.text
        (sound,) = conversation.history.waiting.values()
        assert sound.kind == "sound" and sound.seconds >= 0.2
        await stage.until(lambda: "[Audio 0:0" in stage.app.chat.prompt.text)


@live
async def test_a_microphone_that_opens_and_then_fails_is_opened_once_more_and_no_third_time(
    tmp_path: Path,
) -> None:
    opened: list[FakeMicrophone] = []

    def microphone(_: str) -> FakeMicrophone:
        opened.append(FakeMicrophone())
        opened[-1].problem = Gemma4Error("microphone_stopped", "It has stopped", "None.", "Look.")
        return opened[-1]

    async with staged(tmp_path) as stage:
        workspace = stage.app.workspace
        workspace.devices = replace(workspace.devices, microphone=microphone)
        for times in (2, 4):  # as often when it is opened by hand
            await stage.press("f4")
            await stage.until(lambda: "f3 settings" in stage.text)
            assert not stage.app.chat.voice.active and len(opened) == times
            await stage.press("escape")


@live
async def test_a_gate_that_fails_is_a_card_and_what_was_recorded_waits(tmp_path: Path) -> None:
    class Fails(FakeGate):
        def add(self, frames: NDArray[np.float32]) -> list[NDArray[np.float32] | None]:
            if self._left < 3:
                raise ValueError("the moon is full")
            return super().add(frames)

    async with staged(tmp_path, world=World(gate=Fails(9))) as stage:
        await stage.press("f4")
        await stage.until(lambda: "the moon is full" in stage.text)
        conversation = stage.app.workspace.conversation
        assert conversation.recording is None and not stage.app.chat.voice.active
        (sound,) = conversation.history.waiting.values()
        assert sound.seconds == pytest.approx(7 * 0.04)


def not_running(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker crash and accept nothing afterwards, as one whose process has ended."""

    def refuse(_: object) -> NoReturn:
        raise Gemma4Error("worker_not_running", "The worker is not running", "It ended.", "Start.")

    monkeypatch.setattr(stage.engine, "send", refuse)
    stage.engine.crash()


@pytest.mark.parametrize("key", ["f4", "f7"])
def test_a_worker_that_crashes_while_somebody_speaks_has_one_card_and_the_recording_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    @live
    async def played() -> None:
        async with staged(tmp_path) as stage:
            conversation, chat = stage.app.workspace.conversation, stage.app.chat
            await stage.press(key)
            await stage.until(lambda: recorded(stage, 0.2))
            not_running(stage, monkeypatch)
            await stage.until(lambda: conversation.history.waiting)
            if key == "f4":
                await stage.until(lambda: not chat.voice.active)
            await stage.until(lambda: "The model's worker has stopped" in stage.text)
            await asyncio.sleep(0.3)
            assert [card.problem.code for card in chat.query(ErrorCard)] == ["worker_crashed"]
            assert conversation.recording is None and "● rec" not in stage.text
            (sound,) = conversation.history.waiting.values()
            assert sound.seconds >= 0.2
            assert not (conversation.journal.folder / RECORDING).exists()

    played()


@live
async def test_what_a_worker_that_is_not_running_refused_is_no_part_of_the_next_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        conversation, chat = stage.app.workspace.conversation, stage.app.chat
        not_running(stage, monkeypatch)
        await stage.until(lambda: "The model's worker has stopped" in stage.text)
        for key in ("f4", "f7"):
            await stage.press(key)
            await stage.until(lambda: not chat.voice.active)
            await stage.until(lambda: "The worker is not running." in stage.text)
            assert [card.problem.code for card in chat.query(ErrorCard)] == ["worker_crashed"]
            assert not conversation.history.waiting and not conversation.history.turns
            assert not (conversation.journal.folder / RECORDING).exists()


@live
async def test_one_microphone_has_one_card_whatever_becomes_of_it(tmp_path: Path) -> None:
    world = World(microphone=FakeMicrophone(silent=True))
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: "The microphone is silent" in stage.text)
        world.microphone.problem = Gemma4Error(
            "microphone_missing", "There is no microphone", "None.", "Connect one."
        )
        await stage.until(lambda: "There is no microphone" in stage.text)
        world.microphone.problem = Gemma4Error(
            "portaudio_failed", "The sound devices cannot be listed", "It fails.", "Look."
        )
        await stage.press("f4")
        await stage.until(lambda: "cannot be listed" in stage.text)
        (card,) = stage.app.chat.query(ErrorCard)
        assert card.problem.code == "portaudio_failed"
        world.microphone.problem, world.microphone.silent_seconds = None, 0.0
        await stage.press("f4")
        await stage.until(lambda: not stage.app.chat.query(ErrorCard))
