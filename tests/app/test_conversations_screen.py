"""The page of conversations, and what goes on from it."""

from pathlib import Path

from textual.events import Paste
from textual.widgets import OptionList

from app.screens.sessions import SessionsScreen, line
from tests.app.host import COUNTED, Stage, chart, live, staged


async def open_conversations(stage: Stage) -> None:
    await stage.press("ctrl+r")
    await stage.until(lambda: "Go on" in stage.text)
    await stage.until(lambda: stage.app.screen.query("#list") and "looking" not in stage.text)
    await stage.pilot.pause(0.1)


@live
async def test_a_new_conversation_is_empty_and_the_old_one_can_be_gone_on_with(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, ["Blue."]) as stage:
        await stage.app.chat.prompt._on_paste(Paste(str(chart(tmp_path))))
        await stage.until(lambda: stage.app.chat.prompt.text)
        await stage.ask("which colour?")
        await stage.press("ctrl+n")
        await stage.until(lambda: "which colour?" not in stage.text)
        await open_conversations(stage)
        assert "which colour?  [Image #1]" not in stage.text
        await stage.press("enter")
        await stage.until(lambda: "❯ which colour?  [Image #1]" in stage.text)
        await stage.until(lambda: "Blue." in stage.text)


@live
async def test_conversations_are_renamed_deleted_and_brought_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("what is this?")
        await stage.press("ctrl+n")
        await open_conversations(stage)
        await stage.press("r")
        await stage.press(*["backspace"] * 13, *"Cats", "enter")
        await stage.until(lambda: "Cats" in stage.text)
        await stage.press("d")
        await stage.until(lambda: "There is none" in stage.text or "Deleted: Cats" in stage.text)
        assert not stage.app.workspace.store.list()
        await stage.press("u")
        await stage.until(
            lambda: [one.title for one in stage.app.workspace.store.list()] == ["Cats"]
        )


@live
async def test_what_could_not_be_brought_back_is_brought_back_by_the_next_u(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("what is this?")
        await stage.press("ctrl+n")
        await open_conversations(stage)
        await stage.press("d")
        store = stage.app.workspace.store
        await stage.until(lambda: not store.list())
        restore = store.restore

        def fail(name: str) -> None:
            store.restore = restore
            raise OSError("the disk is away")

        store.restore = fail
        await stage.press("u")
        await stage.until(lambda: "the disk is away" in stage.text)
        await stage.press("u")
        await stage.until(lambda: len(store.list()) == 1)


@live
async def test_enter_while_the_list_is_read_again_ends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("what is this?")
        await open_conversations(stage)
        page = stage.app.screen
        assert isinstance(page, SessionsScreen)
        page.query_one(OptionList).action_select()
        page.fill([], lambda one: line(one, False))
        await stage.until(lambda: stage.app.screen is stage.app.chat)
        await stage.ask("and this?")


@live
async def test_the_conversation_that_is_held_cannot_be_deleted(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("what is this?")
        await open_conversations(stage)
        await stage.press("d")
        await stage.until(lambda: "This one is open" in stage.text)
        assert len(stage.app.workspace.store.list()) == 1


@live
async def test_a_conversation_that_was_killed_goes_on_with_all_that_was_said(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, [f"one two three four {COUNTED}"], tokens_per_second=5) as stage:
        await stage.write("count")
        await stage.press("enter")
        history = stage.app.workspace.conversation.history
        await stage.until(lambda: 2 in history.turns and "two" in history.turns[2].text)
        journal = stage.app.workspace.journal.folder / "events.jsonl"
        copy = tmp_path / "killed" / journal.parent.name
        copy.mkdir(parents=True)
        (copy / "events.jsonl").write_bytes(journal.read_bytes())  # what a SIGKILL leaves
    (tmp_path / "again").mkdir()
    (tmp_path / "killed").rename(tmp_path / "again" / "conversations")
    async with staged(tmp_path / "again") as stage:
        await open_conversations(stage)
        await stage.press("enter")
        await stage.until(lambda: "one two" in stage.text)
        assert "stopped" in stage.text
