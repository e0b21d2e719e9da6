"""Chips: what stands for a file in a question, and goes with it."""

from pathlib import Path

import pytest
from textual.events import Paste

from app.widgets.turns import QuestionView
from tests.app.host import chart, live, staged


@live
async def test_a_pasted_path_becomes_a_picture_with_its_tokens_and_a_chip(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.pilot.app.chat.prompt._on_paste(Paste(str(chart(tmp_path))))
        await stage.until(lambda: "60 of 70 image tokens · ctrl+d more detail" in stage.text)
        assert stage.app.chat.prompt.text == "[Image #1] "
        await stage.press("ctrl+d")
        await stage.until(lambda: "of 140 image tokens" in stage.text)
        await stage.ask("why?")
        turn = stage.app.workspace.conversation.history.turns[1]
        assert (turn.text, turn.attachments[0].budget) == ("why?", 140)
        assert "❯ why?  [Image #1]" in stage.text


@live
async def test_a_chip_is_deleted_as_one_and_its_picture_with_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.app.chat.prompt._on_paste(Paste(str(chart(tmp_path))))
        await stage.until(lambda: stage.app.chat.prompt.text == "[Image #1] ")
        await stage.press("backspace", "backspace")
        await stage.until(lambda: not stage.app.workspace.conversation.history.waiting)
        assert stage.app.chat.prompt.text == ""
        await stage.until(lambda: not stage.app.chat.query(QuestionView))


@live
@pytest.mark.parametrize("selected", [0, len("[notes.txt]")], ids=["at it", "selected"])
async def test_of_two_files_of_one_name_the_one_goes_whose_chip_was_deleted(
    tmp_path: Path, selected: int
) -> None:
    files = [tmp_path / folder / "notes.txt" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"of {file.parent.name}")
    async with staged(tmp_path) as stage:
        chat, workspace = stage.app.chat, stage.app.workspace
        chat.busy(chat.media.files(files))
        await stage.until(lambda: chat.prompt.text == "[notes.txt] [notes.txt] ")
        await stage.press("home", *["shift+right"] * selected, "delete")
        waiting = workspace.conversation.history.waiting
        await stage.until(lambda: len(waiting) == len(chat.prompt.chips) == 1)
        (left,) = waiting.values()
        assert (workspace.journal.folder / left.file).read_text() == "of b"
        assert chat.prompt.text == " [notes.txt] "


@live
async def test_a_chip_that_was_typed_takes_no_file_with_it(tmp_path: Path) -> None:
    (file := tmp_path / "notes.txt").write_text("a note")
    async with staged(tmp_path) as stage:
        chat, workspace = stage.app.chat, stage.app.workspace
        await stage.write("as [notes.txt] says ")
        chat.busy(chat.media.files([file]))
        await stage.until(lambda: chat.prompt.text == "as [notes.txt] says [notes.txt] ")
        await stage.press("home", *["right"] * len("as [notes.txt]"), "backspace")
        assert chat.prompt.text == "as  says [notes.txt] "
        assert len(workspace.conversation.history.waiting) == len(chat.prompt.chips) == 1
