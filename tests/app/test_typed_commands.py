"""Slash commands that are typed, keys that scroll, and long or many things that are pasted."""

from pathlib import Path

import pytest
from textual.events import Paste

from app.screens.models import ModelsScreen
from app.state import Problem
from app.widgets.card import ErrorCard
from app.widgets.turns import QuestionView
from tests.app.host import COUNTED, Stage, World, chart, live, shot, staged


async def typed(stage: Stage, text: str) -> None:
    """Type a line and press Enter."""
    await stage.write(text)
    stage.app.chat.offer([])
    await stage.press("enter")
    await stage.pilot.pause()


def said(stage: Stage) -> str:
    """The program's notifications."""
    return " ".join(one.message for one in stage.app._notifications)


@live
async def test_what_is_no_command_is_an_error_and_not_asked(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for text, words in (
            ("/foo", "There is no command /foo."),
            ("/modle", "Did you mean /model?"),
            ("/new york", "/new takes nothing behind it."),
            ("/detail", "/detail can only be used while a picture waits to be sent."),
        ):
            await typed(stage, text)
            await stage.until(lambda words=words: words in said(stage))
            assert stage.app.chat.prompt.text == text
            stage.app.chat.prompt.write("")
        assert not stage.app.workspace.conversation.history.turns


@live
async def test_two_slashes_send_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("//etc is a folder")
        assert stage.app.workspace.conversation.history.turns[1].text == "/etc is a folder"
        await stage.press("ctrl+e")
        await stage.until(lambda: stage.app.chat.prompt.text == "//etc is a folder")


@live
async def test_a_command_takes_what_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, ["Blue."]) as stage:
        await stage.ask("which colour")
        await typed(stage, f"/export {tmp_path}/out/colours.md")
        written = tmp_path / "out/colours.md"
        await stage.until(written.is_file)
        assert "Blue." in written.read_text()
        assert stage.app.chat.prompt.text == ""
        await typed(stage, "/model tiny-4bit")
        await stage.until(lambda: stage.text.startswith(" tiny-4bit"))
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        await typed(stage, "/model nothing-like-it")
        await stage.until(lambda: "There is no model nothing-like-it" in stage.text)
        assert stage.app.workspace.settings.model == "tiny-4bit"
        await typed(stage, "/model")
        await stage.until(lambda: isinstance(stage.app.screen, ModelsScreen))


@live
async def test_the_conversation_is_scrolled_from_the_prompt(tmp_path: Path) -> None:
    answer = "\n\n".join(f"line {number}" for number in range(60))
    async with staged(tmp_path, [answer]) as stage:
        await stage.ask("count")
        transcript = stage.app.chat.transcript
        await stage.until(lambda: transcript.scroll_y == transcript.max_scroll_y > 0)
        end = transcript.scroll_y
        await stage.press("shift+up")
        await stage.until(lambda: transcript.scroll_y == end - 1)
        await stage.press("pageup")
        await stage.until(lambda: transcript.scroll_y < end - 10)
        upper = transcript.scroll_y
        await stage.press("shift+down")
        await stage.until(lambda: transcript.scroll_y == upper + 1)
        await stage.press("pagedown")
        await stage.until(lambda: transcript.scroll_y > upper + 10)
        await stage.press("pageup", "pageup")
        await stage.write("a draft")
        stage.app.chat.prompt.move_cursor((0, 1))
        await stage.press("end")  # within the line: only the cursor goes
        await stage.until(lambda: stage.app.chat.prompt.cursor_location == (0, 7))
        assert transcript.scroll_y < end
        await stage.press("end")
        await stage.until(lambda: transcript.scroll_y == transcript.max_scroll_y)


@live
async def test_a_megabyte_that_is_pasted_is_attached_and_not_laid_out(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.app.chat.prompt._on_paste(Paste("0123456789 words\n" * 60_000))
        await stage.until(lambda: stage.app.workspace.conversation.history.waiting)
        assert stage.app.chat.prompt.text == "[Pasted text, 1020 kB] "
        await stage.ask("what is it?")
        (text,) = stage.app.workspace.conversation.history.turns[1].attachments
        assert (stage.app.workspace.journal.folder / text.file).stat().st_size == 1_020_000


@live
async def test_a_text_that_is_pasted_may_be_as_long_as_a_file(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.app.chat.prompt._on_paste(Paste("0123456789 words\n" * 70_000))
        await stage.until(lambda: "It has 1,190,000 bytes; a text may have 1,048,576" in stage.text)
        assert not stage.app.workspace.conversation.history.waiting


@live
async def test_twenty_pictures_are_drawn_small_and_no_chip_is_broken(tmp_path: Path) -> None:
    world = World(clipboard=shot(tmp_path, "clipboard"))
    async with staged(tmp_path, world=world, size=(100, 40)) as stage:
        waiting = stage.app.workspace.conversation.history.waiting
        for number in range(1, 21):
            await stage.press("ctrl+v")
            await stage.until(lambda number=number: len(waiting) == number)
        await stage.until(lambda: "[Image #20]" in stage.app.chat.prompt.text)
        question = stage.app.chat.query_one(QuestionView)
        await stage.until(lambda: question.query("HalfcellImage, Image"))
        await stage.until(lambda: 0 < question.size.height <= 4 * 6)
        lines = [
            stage.app.chat.prompt.get_line(0).plain[start:end]
            for start, end in _sections(stage.app.chat.prompt)
        ]
        assert len(lines) > 1 and "".join(lines).count("[Image #") == 20
        assert all(line.count("[Image #") == line.count("]") for line in lines)
        shown = [line for line in stage.text.splitlines() if "[Image #" in line]
        assert all(line.count("[Image #") == line.count("]") for line in shown)


def _sections(prompt):  # noqa: ANN001, ANN202
    offsets = [0, *prompt.wrapped_document.get_offsets(0), len(prompt.document[0])]
    return zip(offsets, offsets[1:], strict=False)


@live
async def test_an_error_has_one_card_that_is_changed_and_withdrawn(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        chat = stage.app.chat
        for room in (3, 2):
            cause = f"{room} MB are free."
            chat.problem(
                Problem("disk_full", "The disk is full", cause, "Make room.", source="disk")
            )
            await stage.until(lambda room=room: f"{room} MB are free." in stage.text)
        assert len(chat.query(ErrorCard)) == 1 and "3 MB" not in stage.text
        chat.works("microphone")
        await stage.pilot.pause()
        assert len(chat.query(ErrorCard)) == 1
        chat.works("disk")
        await stage.until(lambda: not chat.query(ErrorCard))


@live
async def test_a_worker_that_crashed_in_an_answer_is_one_card_until_it_runs_again(
    tmp_path: Path,
) -> None:
    answers = [f"one two {COUNTED}", "one two three four five six"]
    async with staged(tmp_path, answers, tokens_per_second=10) as stage:
        conversation = stage.app.workspace.conversation
        await stage.start("count")
        stage.engine.crash()
        await stage.until(lambda: "start it again" in stage.text)
        assert len(stage.app.chat.query(ErrorCard)) == 1
        assert not conversation.situation(True).answered  # nothing can be asked of it now
        await stage.press("ctrl+t")
        await stage.until(lambda: conversation.state == "ready")
        await stage.until(lambda: not stage.app.chat.query(ErrorCard))
        assert conversation.situation(True).answered
        await stage.press("ctrl+g")
        await stage.until(lambda: conversation.state == "ready" and 3 in conversation.history.turns)
        assert conversation.history.turns[3].text == "one two three four five six"


@pytest.mark.parametrize("typed", ["@~x", "@~nobodyhere/x", "@/tmp/\0x", "@" + "a" * 5000])
def test_an_at_sign_and_what_is_no_path_offers_nothing(tmp_path: Path, typed: str) -> None:
    @live
    async def played() -> None:
        async with staged(tmp_path) as stage:
            stage.app.chat.prompt.write(typed)
            await stage.pilot.pause(0.1)
            assert not stage.app.chat.suggestions.display
            await stage.press("enter")
            await stage.until(lambda: "Yes." in stage.text)

    played()


@live
async def test_no_path_that_is_typed_behind_a_command_ends_the_program(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("hello")
        for path in ("~nobodyhere/x.md", "a\0b/x.md", f"/{'a' * 300}/x.md"):
            stage.app.do("export", path)
            await stage.until(lambda: stage.app.chat.query(ErrorCard))
            await stage.press("escape")
            await stage.until(lambda: not stage.app.chat.query(ErrorCard))
        stage.app.do("model", "~nobodyhere")
        await stage.until(lambda: "There is no model ~nobodyhere" in stage.text)


@live
async def test_an_at_sign_finds_a_screenshot_whose_blank_is_no_plain_one(tmp_path: Path) -> None:
    folder = tmp_path / "My\u00a0Shots"
    folder.mkdir()
    chart(tmp_path).rename(folder / "Shot 9.41\u202fPM.png")
    async with staged(tmp_path) as stage:
        await stage.write(f"@{tmp_path}/My Shots/shot 9.41 p")
        await stage.until(lambda: stage.app.chat.suggestions.display)
        await stage.press("enter")
        await stage.until(lambda: stage.app.chat.prompt.text == "[Image #1] ")


@live
async def test_a_folder_that_may_not_be_entered_is_gone_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut").mkdir()

    is_dir = Path.is_dir

    def refused(path: Path) -> bool:
        if path.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    async with staged(tmp_path) as stage:
        await stage.write(f"@{tmp_path}/shu")
        await stage.until(lambda: stage.app.chat.suggestions.display)
        monkeypatch.setattr(Path, "is_dir", refused)
        await stage.press("enter")
        await stage.until(lambda: stage.app.chat.prompt.text == f"@{tmp_path}/shut/")


@pytest.mark.parametrize(
    ("text", "words"),
    [("/copy", "There is no answer to copy yet."), ("/fix", "No card offers anything to do.")],
)
def test_a_command_that_has_nothing_to_do_is_told_so(tmp_path: Path, text: str, words: str) -> None:
    @live
    async def played() -> None:
        async with staged(tmp_path) as stage:
            await typed(stage, text)
            await stage.until(lambda: words in said(stage))
            bare = Problem("model_offer", "It fits not", "Why.", "Wait.", good=True)
            await stage.app.chat.show_problem(bare)  # it can be closed, and no more
            await typed(stage, text)
            await stage.until(lambda: said(stage).count(words) == 2)

    played()


@live
async def test_a_choice_that_cannot_be_written_stays_a_card_when_it_works(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        conversation = stage.app.workspace.conversation
        (file := stage.app.workspace.path).unlink()
        file.mkdir()
        await typed(stage, "/model tiny-4bit")
        await stage.until(lambda: stage.text.startswith(" tiny-4bit"))
        await stage.until(lambda: conversation.state == "ready")
        await stage.ask("is it there still?")
        (card,) = stage.app.chat.query(ErrorCard)
        assert (card.problem.code, card.problem.source) == ("disk_failed", "disk")


@live
async def test_each_demonstration_model_is_called_so(tmp_path: Path) -> None:
    async with staged(tmp_path, settings='model = "tiny-4bit"\n') as stage:
        await stage.ask("who are you?")
        assert "Tiny model" in stage.text and "tiny-4bit demonstration" in stage.text
    other = tmp_path / "other"
    async with staged(other, settings='model = "google/gemma-4-12B-it"\n') as stage:
        await stage.ask("who are you?")
        assert "Gemma\n" in stage.text and "demonstration" not in stage.text


@live
async def test_commands_earlier_questions_and_editing_leave_what_is_attached(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        chat, prompt = stage.app.chat, stage.app.chat.prompt
        await stage.ask("first")
        chat.busy(chat.media.files([chart(tmp_path)]))
        await stage.until(lambda: prompt.text == "[Image #1] ")
        waiting = stage.app.workspace.conversation.history.waiting
        (budget,) = [one.budget for one in waiting.values()]
        await stage.press("up")
        await stage.until(lambda: prompt.text == "[Image #1] first")
        await stage.press("down")
        await stage.until(lambda: prompt.text == "[Image #1] ")
        await typed(stage, "/detail")
        await stage.until(lambda: [one.budget for one in waiting.values()] != [budget])
        assert prompt.text == "[Image #1] "
        await stage.write("half a ques")
        await stage.press("ctrl+e")
        await stage.until(lambda: prompt.text == "[Image #1] first")
        await stage.press("up")
        await stage.until(lambda: prompt.text == "[Image #1] half a ques")
        await stage.ask("tion")
        turns = stage.app.workspace.conversation.history.turns
        (asked,) = [turn for turn in turns.values() if turn.role == "user"]
        assert asked.text == "half a question" and len(asked.attachments) == 1


@live
async def test_the_name_of_a_command_is_completed_behind_what_is_attached(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        chat, prompt = stage.app.chat, stage.app.chat.prompt
        chat.busy(chat.media.files([chart(tmp_path)]))
        await stage.until(lambda: prompt.text == "[Image #1] ")
        await stage.write("/expo")
        await stage.until(lambda: chat.suggestions.display)
        await stage.press("tab")
        await stage.until(lambda: prompt.text == "[Image #1] /export ")
