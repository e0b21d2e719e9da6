import asyncio
import json
from pathlib import Path

import pytest
from textual.events import Paste
from textual.widgets import Input

from app import commands
from app.state import Download, Problem
from app.widgets.card import ErrorCard
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub.progress import Progress
from tests.app.host import Stage, chart, live, staged


@live
async def test_f1_lists_every_command_and_escape_goes_back(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(100, 80)) as stage:
        await stage.press("f1")
        await stage.until(lambda: "Shift+Enter, Ctrl+J" in stage.text)
        shown = flat(stage)
        for command in commands.COMMANDS:
            assert " ".join(command.help.split()[:4]) in shown
        await stage.press("escape")
        await stage.until(lambda: stage.app.screen is stage.app.chat)


@live
async def test_the_palette_finds_a_command_and_does_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+p")
        await stage.until(lambda: stage.app.screen is not stage.app.chat)
        await stage.press(*"docto")
        await stage.until(lambda: "See what this computer has and lacks." in stage.text)
        await stage.press("down", "enter")
        await stage.until(lambda: "1 problem, 1 warning" in stage.text)


@live
async def test_the_doctor_shows_findings_and_remedies(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.app.do("doctor")
        await stage.until(lambda: "1 problem, 1 warning" in stage.text)
        assert "✗ wired limit" in stage.text
        assert "sudo sysctl iogpu.wired_limit_mb=0" in stage.text


@live
async def test_the_log_shows_its_end(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.app.workspace.log.write_text("something happened\n")
        await stage.press("f12")
        await stage.until(lambda: "something happened" in stage.text)


@live
async def test_a_setting_is_written_at_once_and_a_wrong_value_is_explained(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(100, 80)) as stage:
        await stage.press("f3")
        await stage.until(lambda: "max_tokens" in stage.text)
        field = stage.app.screen.query_one("#set-max_tokens", Input)
        field.value = "64"
        field.focus()
        await stage.press("enter")
        await stage.until(lambda: "max_tokens = 64" in stage.app.workspace.path.read_text())
        assert stage.app.workspace.conversation.settings.max_tokens == 64
        field.value = "many"
        await stage.press("enter")
        await stage.until(lambda: "Longest answer: it must be a whole number" in stage.text)
        assert stage.app.workspace.settings.max_tokens == 64


@live
async def test_a_setting_that_cannot_be_written_is_explained_on_its_page(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(100, 80)) as stage:
        await stage.press("f3")
        await stage.until(lambda: "max_tokens" in stage.text)

        def fail(**_: object) -> None:
            raise OSError("the disk is away")

        stage.app.workspace.change = fail
        stage.app.screen.query_one("#set-max_tokens").value = "64"  # type: ignore[attr-defined]
        stage.app.screen.query_one("#set-max_tokens").focus()
        await stage.press("enter")
        await stage.until(lambda: "That did not work. the disk is away" in stage.text)


@live
async def test_a_settings_file_with_an_error_is_told_and_used_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, settings="max_tokens = 77\nnonsense = 1\n") as stage:
        assert "there is no setting nonsense" in stage.text
        assert stage.app.workspace.settings.max_tokens == 77


@live
async def test_the_theme_changes_and_is_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.app.do("theme")
        await stage.pilot.pause()
        await stage.until(lambda: stage.app.theme == "textual-light")
        assert 'theme = "light"' in stage.app.workspace.path.read_text()


@live
async def test_a_model_that_is_not_known_is_no_setting(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(100, 80)) as stage:
        await stage.press("f3")
        await stage.until(lambda: stage.app.screen.query("#set-model"))
        field = stage.app.screen.query_one("#set-model", Input)
        field.value = "tinny"
        field.focus()
        await stage.press("enter")
        await stage.until(lambda: field.has_class("wrong"))
        assert "tinny" in flat(stage) and stage.app.workspace.settings.model == ""
        assert stage.app.workspace.conversation.state == "ready"


def test_no_minute_has_sixty_seconds() -> None:
    assert (
        Download("a/b", "download", Progress(0, 1197, 10.0)).brief == "↓ 0 % · 0 MB/s · 1:59 left"
    )


@live
async def test_models_are_listed_with_how_they_fit_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("f2")
        await stage.until(lambda: "google/gemma-4-12B-it as 6bit" in stage.text)
        assert "24.0 GB for a model (what Metal recommends)" in stage.text
        await stage.press("down")
        await stage.until(lambda: "● loaded" not in stage.text and "Memory" in stage.text)
        await stage.press("enter")
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        await stage.until(lambda: stage.text.startswith(" tiny-4bit"))
        assert 'model = "tiny-4bit"' in stage.app.workspace.path.read_text()


@live
async def test_a_model_with_an_installed_adapter_is_listed_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_gemma4.hub.disk.own_data", lambda name: tmp_path / "data" / name)
    place, facts = tmp_path / "data" / "adapters" / "mine", {"base": "tiny", "lines": 1600}
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text(json.dumps({"mlx_gemma4": facts}))
    async with staged(tmp_path) as stage:
        await stage.press("f2")
        await stage.until(lambda: "✓ tiny:mine" in stage.text)
        while "tiny with an adapter from 1600 conversations" not in flat(stage):
            await stage.press("down")
        await stage.press("enter")
        await stage.until(lambda: stage.text.startswith(" tiny:mine"))
        assert 'model = "tiny:mine"' in stage.app.workspace.path.read_text()


@live
async def test_a_download_is_asked_for_twice_and_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    fake_get(
        tmp_path,
        monkeypatch,
        HALF + f"until [ -e {seen} ]; do sleep 0.05; done\n"
        """echo '{"error": {"code": "disk_full", "title": "The disk is full", "cause": "No", """
        """"remedy": "Make room."}}'\nexit 2\n""",
    )
    async with staged(tmp_path) as stage:
        await stage.press("f2")
        await stage.until(lambda: "google/gemma-4-12B-it as 6bit" in stage.text)
        await stage.press("down", "down", "enter")
        await stage.until(lambda: "Press Enter again to start." in flat(stage))
        await stage.press("enter")
        await stage.until(lambda: "1.00 of 2.00 GB" in flat(stage))
        seen.touch()
        await stage.press("escape")
        await stage.until(lambda: stage.app.chat.query(ErrorCard))
        await stage.until(lambda: "The disk is full" in stage.text)


@live
async def test_a_download_shows_on_every_screen_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_get(tmp_path, monkeypatch, f"{HALF}exec sleep 30\n")
    async with staged(tmp_path) as stage:
        stage.app.do("get", "google/gemma-4-12B-it")
        await stage.until(lambda: "↓ 50 % · 9 MB/s · 1:51 left" in stage.text)
        for page in ("settings", "help", "resume", "doctor", "log", "model"):
            stage.app.do(page)
            await stage.until(lambda: "↓ 50 %" in stage.text.partition("\n")[0])
        await stage.press("c")
        await stage.until(lambda: stage.app.workspace.job is None)
        assert stage.app.workspace.take_interrupted() is None  # it was stopped on purpose


@live
async def test_quitting_asks_while_a_model_comes_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    fake_get(tmp_path, monkeypatch, f'echo "$@" >> {asked}\n{HALF}exec sleep 30\n')
    async with staged(tmp_path) as stage:
        stage.app.do("get", "google/gemma-4-12B-it")
        await stage.until(lambda: "↓ 50 %" in stage.text)
        await stage.press("ctrl+q")
        await stage.until(lambda: "is still on its way" in stage.text)
        await stage.press("escape")
        await stage.until(lambda: "is still on its way" not in stage.text)
        assert stage.app.is_running
        await stage.press("ctrl+q")
        await stage.until(lambda: "is still on its way" in stage.text)
        await stage.press("enter")
        await stage.until(lambda: not stage.app.is_running)
    async with staged(tmp_path) as stage:
        await stage.until(lambda: "↓ 50 %" in stage.text)
        assert asked.read_text().splitlines() == ["get google/gemma-4-12B-it --yes --json"] * 2


@live
async def test_a_model_that_is_missing_has_a_button_that_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_get(tmp_path, monkeypatch, f"{HALF}exec sleep 30\n")
    async with staged(tmp_path) as stage:
        missing = Gemma4Error("model_missing", "It is not here", "No.", "Get it.", {"repo": "a/b"})
        stage.app.chat.problem(Problem.of(missing))
        await stage.until(lambda: "^t get it" in stage.text)
        await stage.press("ctrl+t")
        await stage.until(lambda: stage.app.workspace.job is not None)
        assert stage.app.workspace.job.name == "a/b"
        await stage.until(lambda: "It is not here" not in stage.text)


HALF = (
    """echo '{"stage": "download", "share": 0.0, "download": {"done": 1000000000, """
    """"total": 2000000000, "rate": 9000000.0}}'\n"""
)


def fake_get(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in the place of the command line."""
    path = folder / "gemma4"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    monkeypatch.setattr("app.jobs.GEMMA4", [str(path)])


@live
async def test_the_conversation_is_exported_with_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: tmp_path)
    async with staged(tmp_path, ["Blue."]) as stage:
        await stage.app.chat.prompt._on_paste(Paste(str(chart(tmp_path))))
        await stage.until(lambda: stage.app.chat.prompt.text)
        await stage.ask("which colour")
        await stage.press("ctrl+o")
        written = tmp_path / "gemma4" / "which colour.md"
        await stage.until(written.is_file)
        assert "Blue." in written.read_text()
        assert (tmp_path / "gemma4" / "which colour" / "image-1.png").is_file()


@live
async def test_a_newcomer_sees_a_picture_and_hears_a_question_with_two_keys(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, ["19.56"], first=True, size=(100, 40)) as stage:
        await stage.until(lambda: "what is the total?" in stage.app.chat.prompt.text)
        assert "Welcome." in stage.text
        await stage.until(lambda: "receipt.png · 288×480" in stage.text)
        await stage.press("enter")
        await stage.until(lambda: "[Audio 0:0" in stage.app.chat.prompt.text)
        await stage.press("enter")
        await stage.until(lambda: "That is all it takes." in stage.text)
        await stage.until(lambda: "Get Gemma 4 12B for this Mac" in stage.text)
        offered = flat(stage).replace("▌ ", "")
        assert "9.8 GB kept, 24 GB to download" in offered
        assert "fits with 256k tokens of conversation (262,144), quantized as 6bit" in offered
        assert stage.app.focused is stage.app.chat.prompt
        await stage.press(*"hi", "enter")  # Enter sends: the card has a key of its own
        await stage.until(lambda: len(stage.app.workspace.conversation.history.turns) == 6)
        assert stage.app.workspace.job is None
        first, _, second, *_ = stage.app.workspace.conversation.history.turns.values()
        assert first.text == "what is the total?"
        assert [one.kind for one in second.attachments] == ["image", "sound"]
        assert "# max_tokens = 1024" in stage.app.workspace.path.read_text()


@live
async def test_every_command_of_the_table_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: tmp_path)
    async with staged(tmp_path) as stage:
        await stage.ask("hello")
        for command in commands.COMMANDS:
            if command.id != "quit":
                stage.app.do(command.id)
                if command.id in (
                    "talk",
                    "talk_space",
                    "hands_free",
                    "watch",
                ):  # what goes on by itself
                    await asyncio.sleep(0.1)
                    stage.app.do(command.id)
                await stage.pilot.pause()
        assert stage.app.is_running


def flat(stage: Stage) -> str:
    """What the screen shows, on one line, without the border between two panes."""
    return " ".join(stage.text.replace("│", " ").split())
