"""What nobody foresaw: it is shown, and the program goes on."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from app import models_list
from app.conversation import attachments
from app.conversation.store import ConversationStore
from app.widgets.card import ErrorCard
from mlx_gemma4.hub import disk
from tests.app.host import COUNTED, Stage, World, chart, live, shot, staged


def fails(*_: object, **__: object) -> NoReturn:
    raise ValueError("the moon is full")


def codes(stage: Stage) -> list[str]:
    return [card.problem.code for card in stage.app.chat.query(ErrorCard)]


@live
async def test_what_goes_wrong_with_a_file_or_the_screen_is_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "file", fails)
    monkeypatch.setattr(attachments, "shot", fails)
    async with staged(tmp_path, world=World(screen=shot(tmp_path, "screen"))) as stage:
        chat = stage.app.chat
        chat.busy(chat.media.files([chart(tmp_path)]), "file")
        await stage.until(lambda: "the moon is full" in stage.text)
        await stage.press("escape", "f9")  # a picture that the watcher brings
        await stage.until(lambda: codes(stage) == ["internal_error"])
        stage.app.workspace.devices = replace(stage.app.workspace.devices, capture=fails)
        await stage.press("escape", "f6")
        await stage.until(lambda: codes(stage) == ["internal_error"])
        await stage.ask("are you there?")


@pytest.mark.parametrize("page", ["resume", "model", "doctor", "voices"])
def test_a_page_that_cannot_be_filled_is_still_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(ConversationStore, "find", fails)
    monkeypatch.setattr(models_list, "choices", fails)

    @live
    async def played() -> None:
        async with staged(tmp_path) as stage:
            devices = replace(stage.app.workspace.devices, findings=fails, voices=fails)
            stage.app.workspace.devices = devices
            stage.app.do(page)
            await stage.until(lambda: "the moon is full" in stage.text)
            await stage.press("escape")
            await stage.ask("are you there?")

    played()


@live
async def test_a_first_start_on_a_full_disk_is_a_start_with_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "write", full)
    async with staged(tmp_path, first=True) as stage:
        await stage.until(lambda: "disk_failed" in codes(stage))
        await stage.until(lambda: "Welcome" in stage.text)
        assert not stage.app.workspace.path.exists()


@live
async def test_an_export_that_works_withdraws_the_card_of_one_that_did_not(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("hello")
        stage.app.do("export", "/dev/null/notes.md")
        await stage.until(lambda: codes(stage) == ["disk_failed"])
        stage.app.do("export", str(tmp_path / "notes.md"))
        await stage.until(lambda: not codes(stage))


@live
async def test_a_model_that_is_not_known_has_a_card_with_a_way_to_one_that_is(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        stage.app.do("model", "no-such-model")
        await stage.until(lambda: codes(stage) == ["model_unknown"])
        assert "choose a model" in stage.text


Change = Callable[[Stage], object]


@pytest.mark.parametrize(
    "change",
    [lambda stage: stage.app.do("new"), lambda stage: stage.app.do("resume", "earlier")],
    ids=["new", "resumed"],
)
def test_what_was_queued_is_not_asked_in_another_conversation(
    tmp_path: Path, change: Change
) -> None:
    ConversationStore(tmp_path / "conversations").new().close()

    @live
    async def played() -> None:
        async with staged(tmp_path, [f"one {COUNTED}"], tokens_per_second=20) as stage:
            workspace, chat = stage.app.workspace, stage.app.chat
            await stage.start("first?")
            await stage.send("//second?")
            await stage.until(lambda: chat.queued)
            before = workspace.journal
            workspace.store.open = lambda name: workspace.store.new()  # type: ignore[method-assign]
            change(stage)
            await stage.until(lambda: workspace.journal is not before)
            await stage.until(lambda: chat.prompt.text == "//second?")
            await asyncio.sleep(0.2)
            assert not workspace.conversation.history.turns and not chat.queued

    played()


@live
async def test_what_was_queued_is_asked_when_a_worker_that_crashed_runs_again(
    tmp_path: Path,
) -> None:
    answers = [f"one {COUNTED}", "Second."]
    async with staged(tmp_path, answers, tokens_per_second=20) as stage:
        conversation = stage.app.workspace.conversation
        await stage.start("first?")
        await stage.send("second?")
        stage.engine.crash()
        await stage.until(lambda: conversation.state == "empty")
        assert stage.app.chat.queued == ["second?"]
        await stage.press("ctrl+t")
        await stage.until(lambda: "Second." in stage.text)


@live
async def test_what_was_queued_waits_while_somebody_is_about_to_speak(tmp_path: Path) -> None:
    answers = [f"one {COUNTED}", "Second."]
    world = World()
    async with staged(tmp_path, answers, world=world, tokens_per_second=20) as stage:
        conversation = stage.app.workspace.conversation
        await stage.start("first?")
        await stage.send("second?")
        await stage.press("f4")
        await stage.until(lambda: conversation.state == "listening")
        assert stage.app.chat.queued == ["second?"] and not world.microphone.closed
        await stage.press("escape")
        await stage.until(lambda: "Second." in stage.text)
