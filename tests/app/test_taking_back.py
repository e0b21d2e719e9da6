"""What changes while an answer comes or somebody speaks: the worker has it once, and all of it."""

from pathlib import Path

from app.conversation.reports import MOST
from app.conversation.store import ConversationStore
from app.workspace import Workspace
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.client import UNFINISHED
from mlx_gemma4.runtime.reports import Failed, Finished, Loaded, Report
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.app.host import COUNTED, live, staged
from tests.app.table import SECOND, Make, Table

LOADED = Loaded("tiny", 0.0, 8192, sees=True, hears=True)
LOST = Failed("memory_too_small", "It does not fit", "It is large.", "Choose another.")


def kinds_after(table: Table, kind: type) -> list[type]:
    """The kinds of the commands after the first of a kind."""
    kinds = [type(command) for command in table.engine.commands]
    return kinds[kinds.index(kind) + 1 :]


def asked(table: Table) -> list[str]:
    return [one.text for one in table.engine.commands if isinstance(one, do.AddText)]


def fill(table: Table) -> None:
    """Let as many commands as there may be wait for an answer to end."""
    while len(table.engine._unfinished) < UNFINISHED:
        table.engine.send(do.AddText("more", conversation="another"))


def test_what_is_taken_back_while_an_answer_comes_asks_no_question_twice(table: Make) -> None:
    one = table("one two three four five six", "Second.", speed=20)
    one.settle()
    one.talk.send("count")
    one.until(lambda: one.talk.state == "answering")
    first, second = one.picture("one"), one.picture("two")
    one.talk.detach(first.id)
    assert kinds_after(one, do.Reply) == [do.AddImage, do.AddImage]
    one.settle()
    assert kinds_after(one, do.Reply)[2:] == [do.Discard, do.AddImage]
    one.talk.send("and now?")
    one.settle()
    assert asked(one) == ["count", "and now?"]
    assert one.turns()[2].attachments[0].id == second.id


def test_a_question_whose_answer_was_stopped_before_its_first_word_stays_asked(table: Make) -> None:
    one = table("late", speed=0.2)
    one.settle()
    one.talk.send("count")
    one.talk.detach(one.picture().id)
    one.talk.stop()
    one.settle()
    assert kinds_after(one, do.Reply) == [do.AddImage, do.Stop, do.Discard, do.AddText]
    assert asked(one) == ["count", "count"]


@live
async def test_another_model_has_what_was_answered_before_it_was_chosen(tmp_path: Path) -> None:
    async with staged(tmp_path, [COUNTED], tokens_per_second=20) as stage:
        await stage.start("count")
        stage.app.do("model", "tiny-4bit")
        await stage.until(lambda: stage.app.workspace.conversation.settings.model == "tiny-4bit")
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        opened = stage.engine.accepted[-1]
        assert isinstance(opened, do.Open)
        assert [(turn.role, turn.interrupted) for turn in opened.turns] == [
            ("user", False),
            ("model", True),
        ]


def test_another_model_is_sent_all_that_was_spoken_before_and_after(table: Make) -> None:
    one = table()
    one.settle()
    one.hear(SECOND)
    one.talk.model = None
    one.talk.start()
    one.hear(SECOND)
    one.talk.send("")
    one.settle()
    assert kinds_after(one, do.EndSpeech) == [do.Discard, do.AddSound, do.Reply]
    assert one.turns()[0].attachments[0].seconds == 2.0


def test_a_busy_worker_takes_no_attachment_away(table: Make) -> None:
    one = table("late", speed=0.2)
    one.settle()
    one.talk.send("count")
    one.until(lambda: one.talk.pending == 1)
    fill(one)
    made = one.picture()
    assert list(one.talk.history.waiting) == [made.id] and not one.talk.problems
    one.talk.stop()
    one.until(lambda: not one.engine._unfinished)
    one.talk.send("what is it?")
    assert do.AddImage in kinds_after(one, do.Discard)


def test_more_attachments_than_a_worker_takes_are_refused(table: Make) -> None:
    one = table("late", speed=0.2)
    one.settle()
    one.talk.send("count")
    one.until(lambda: one.talk.pending == 1)
    while len(one.talk.history.waiting) < MOST:
        one.picture()
    fill(one)
    one.picture()
    assert len(one.talk.history.waiting) == MOST
    assert [problem.code for problem in one.talk.problems] == ["worker_busy"]


def test_the_model_that_was_chosen_last_counts_also_where_it_cannot_be_loaded(table: Make) -> None:
    one = table()
    one.talk.start()  # another one, while the first is on its way
    first, second = (
        n for n, command in enumerate(one.engine.commands, 1) if isinstance(command, do.Load)
    )
    one.talk.fold([Report(first, LOADED), Report(first, Finished())])
    assert one.talk.state == "loading"
    one.talk.fold([Report(second, LOST)])
    assert one.talk.state == "empty" and one.talk.model is None


def test_the_server_is_made_with_no_model_that_was_lost(tmp_path: Path) -> None:
    with ScriptedWorker() as worker:
        workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path)
        workspace.take([Report(1, LOADED), Report(2, LOST, "talk")])
        assert workspace._load_ended.event == LOADED
        workspace.take([Report(3, LOST)])
        assert workspace._load_ended.event == LOST
