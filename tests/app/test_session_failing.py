"""The conversation where something fails: crashes, kills, full disks, closed engines."""

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Heard, Token
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import Noted, Report
from tests.app.table import SECOND, Make


def test_an_answer_that_fails_is_a_turn_with_title_cause_and_remedy(table: Make) -> None:
    one = table(Gemma4Error("context_full", "Too long", "It has 9 tokens.", "Shorten it."), "Yes.")
    one.talk.send("why?")
    one.settle()
    answer = one.turns()[1]
    assert (answer.state, answer.error) == (
        "failed",
        ("Too long", "It has 9 tokens.", "Shorten it."),
    )
    assert one.talk.can_redo
    one.talk.regenerate()
    one.settle()
    assert one.turns()[1].text == "Yes."


def test_reports_of_another_conversation_change_no_turn(table: Make) -> None:
    one = table()
    one.settle()
    one.talk.send("why?")
    one.settle()
    before = one.turns()
    for event in (Token("late", 1), Done("stop"), Noted("late"), Heard("late")):
        assert one.talk.fold(Report(4711, event)) == set()
    assert one.turns() == before


def test_a_crash_is_told_once_and_the_conversation_goes_on(table: Make) -> None:
    one = table("one two three four five six", "Again.", speed=20)
    one.settle()
    one.talk.send("count")
    one.until(lambda: one.talk.state == "answering")
    made = one.picture()
    one.engine.crash()
    one.until(lambda: any(problem.code == "worker_crashed" for problem in one.talk.problems))
    assert [problem.code == "worker_crashed" for problem in one.talk.problems] == [True]
    assert one.talk.state == "empty" and one.turns()[1].state == "failed"
    assert list(one.talk.history.waiting) == [made.id]
    one.talk.problems.clear()
    one.engine.start()
    one.talk.begin()
    one.talk.send("once more")
    one.settle()
    assert one.turns()[3].text == "Again." and not one.talk.problems
    assert one.turns()[2].attachments[0].id == made.id
    texts = [command.text for command in one.engine.told(do.AddText)]  # type: ignore[union-attr]
    assert texts == ["count", "count", "once more"]  # it is asked again, for nobody saved it


def test_a_crash_while_somebody_speaks_keeps_what_was_said(table: Make) -> None:
    one = table()
    one.settle()
    one.talk.hear(SECOND)
    one.engine.crash()
    one.until(lambda: any(problem.code == "worker_crashed" for problem in one.talk.problems))
    assert one.talk.recording is None and one.turns() == []
    assert [sound.chip for sound in one.talk.history.waiting.values()] == ["[Audio 0:01]"]


def test_after_a_kill_everything_but_the_token_in_flight_is_there(table: Make) -> None:
    one = table("one two three four five six seven eight", speed=30)
    one.settle()
    one.picture()
    one.talk.send("count")
    one.until(lambda: "three" in one.turns()[1].text)
    said = one.turns()[1].text
    one.talk.hear(SECOND)  # and speaks when it is killed
    question, answer = one.again()
    assert (question.text, len(question.attachments)) == ("count", 1)
    assert answer.text == said and answer.state == "interrupted"
    waiting = list(one.talk.history.waiting.values())
    assert [sound.chip for sound in waiting] == ["[Audio 0:01]"]


def test_what_the_model_saved_is_restored_and_what_it_lacks_is_told(table: Make) -> None:
    one = table("First.", "Second.")
    one.talk.send("one")
    one.settle()
    assert one.talk.history.remembered == 2
    one.again()
    one.talk.begin()
    assert one.talk.unknown == {1, 2}
    one.settle()
    assert one.talk.unknown == set()
    assert one.engine.told(do.Restore) == [do.Restore(one.folder / "memory")]
    assert one.engine.told(do.AddText) == [do.AddText("one")]


def test_a_memory_of_another_model_is_told_and_the_turns_are_known_to_lack(
    table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = table("First.")
    one.talk.send("one")
    one.settle()
    one.again()
    original = one.engine._do

    def refuse(number: int, command: do.Command) -> None:
        if isinstance(command, do.Restore):
            raise Gemma4Error(
                "saved_of_other_model", "Another model's", "It was saved with others.", "Load it."
            )
        original(number, command)

    monkeypatch.setattr(one.engine, "_do", refuse)
    one.talk.begin()
    one.settle()
    assert one.talk.unknown == {1, 2}
    assert "It was saved with others." in one.talk.problems.popleft().cause
    assert one.talk.state == "ready"


def test_an_engine_that_is_closed_fails_the_answer_and_nothing_else(table: Make) -> None:
    one = table()
    one.settle()
    one.engine.close()
    one.talk.send("why?")
    assert [turn.state for turn in one.turns()] == ["done", "failed"]
    assert one.talk.state == "ready"


def test_a_full_disk_is_told_once_and_the_answer_is_still_shown(
    table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = table("one two three")
    one.settle()

    def full(entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(one.talk._ledger.journal, "append", full)
    one.talk.send("count")
    one.settle()
    assert one.turns()[1].text == "one two three"
    assert [problem.title for problem in one.talk.problems] == ["The conversation cannot be kept"]
