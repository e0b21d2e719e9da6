"""The conversation where something fails: crashes, kills, full disks, closed workers."""

import os
from typing import NoReturn

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Heard, Token
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import Failed, Noted, Reading, Report, Rereading
from tests.app.table import SECOND, Make


def test_an_answer_that_fails_is_a_turn_with_title_cause_and_remedy(table: Make) -> None:
    one = table(Gemma4Error("context_full", "Too long", "It has 9 tokens.", "Shorten it."), "Yes.")
    one.talk.send("why?")
    one.settle()
    answer = one.turns()[1]
    assert (answer.state, answer.error) == (
        "failed",
        ("context_full", "Too long", "It has 9 tokens.", "Shorten it."),
    )
    assert one.talk.can_redo
    one.talk.regenerate()
    one.settle()
    assert one.turns()[1].text == "Yes."


def test_a_model_that_cannot_be_loaded_is_one_problem(table: Make) -> None:
    one = table()
    (load,) = [
        n for n, command in enumerate(one.engine.commands, 1) if isinstance(command, do.Load)
    ]
    lost = Failed("host_unreachable", "mac2 cannot be used", "It does not answer.", "Wake it.")
    none = Failed("model_not_loaded", "No model is loaded", "None was.", "Load one.")
    one.talk.fold([Report(load, lost), Report(load + 1, none, one.talk.id)])
    assert isinstance(one.engine.commands[load], do.Open)
    assert [problem.code for problem in one.talk.problems] == ["host_unreachable"]
    assert one.talk.state == "empty"


def test_reports_of_another_conversation_change_no_turn(table: Make) -> None:
    one = table()
    one.settle()
    one.talk.send("why?")
    one.settle()
    before = one.turns()
    for event in (Token("late", 1), Done("stop"), Noted("late"), Heard("late")):
        assert one.talk.fold([Report(4711, event, "another")]) == set()
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
    one.talk.start()
    one.talk.send("once more")
    one.settle()
    assert one.turns()[3].text == "Again." and not one.talk.problems
    assert one.turns()[2].attachments[0].id == made.id
    texts = [command.text for command in one.engine.received(do.AddText)]  # type: ignore[union-attr]
    assert texts == ["count", "once more"]
    opened = one.engine.received(do.Open)[-1]
    assert isinstance(opened, do.Open)
    assert [(turn.role, turn.interrupted) for turn in opened.turns] == [
        ("user", False),
        ("model", True),
    ]
    assert opened.turns[0].parts[0].text == "count"  # type: ignore[union-attr]


def test_what_is_attached_or_spoken_while_the_worker_does_not_run_waits(
    table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> NoReturn:
        raise Gemma4Error("worker_not_running", "The worker is not running", "It ended.", "Start.")

    one = table()
    one.settle()
    one.hear(SECOND)
    monkeypatch.setattr(one.engine, "send", refuse)  # the crash is not reported yet
    one.talk.keep_recording()
    made = one.picture()
    assert [sound.kind for sound in one.talk.history.waiting.values()] == ["sound", "image"]
    one.talk.detach(made.id)
    assert not one.talk.problems and len(one.talk.history.waiting) == 1
    one.talk.model = None  # another one is chosen
    one.talk.start()
    assert [problem.code for problem in one.talk.problems] == ["worker_not_running"]
    monkeypatch.undo()


def test_a_crash_while_somebody_speaks_keeps_what_was_said(table: Make) -> None:
    one = table()
    one.settle()
    one.hear(SECOND)
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
    one.hear(SECOND)  # and speaks when it is killed
    question, answer = one.again()
    assert (question.text, len(question.attachments)) == ("count", 1)
    assert answer.text == said and answer.state == "interrupted"
    waiting = list(one.talk.history.waiting.values())
    assert [sound.chip for sound in waiting] == ["[Audio 0:01]"]


def test_a_conversation_that_is_opened_again_is_read_again_from_its_turns(table: Make) -> None:
    ids = [Token("First", 7), Token(".", 8)]
    one = table(ids, "Second.")
    picture = one.picture()
    one.talk.send("one")
    one.settle()
    one.again()
    one.engine.crash()
    one.until(lambda: one.talk.problems)
    one.engine.start()
    one.talk.start()
    one.until(lambda: one.talk.rereading is not None)
    assert one.talk.rereading == (0, 2)
    one.settle()
    assert one.talk.rereading is None and one.talk.state == "ready"
    opened = one.engine.received(do.Open)[-1]
    assert isinstance(opened, do.Open)
    question, answer = opened.turns
    assert [type(part) for part in question.parts] == [do.AddImage, do.AddText]
    assert question.parts[0].image == one.folder / picture.file  # type: ignore[union-attr]
    assert (answer.role, answer.parts[0].text) == ("model", "First.")  # type: ignore[union-attr]
    assert one.engine.received(do.AddText) == [
        do.AddText("one", conversation="talk")
    ]  # not once more


def test_reading_a_conversation_again_can_be_put_off(table: Make) -> None:
    one = table()
    one.talk.fold([Report(None, Rereading(9000), "talk"), Report(None, Reading(10, 9000), "talk")])
    one.settle()
    one.talk.fold([Report(None, Rereading(9000), "talk"), Report(None, Reading(10, 9000), "talk")])
    assert (one.talk.state, one.talk.rereading) == ("reading", (10, 9000))
    assert one.talk.escape() == set()
    assert one.engine.received(do.Stop) == [do.Stop(conversation="talk")]
    assert one.talk.state == "ready"


def test_what_the_model_knows_as_words_is_not_given_to_it_as_sound(table: Make) -> None:
    one = table([Heard("what is it", relayed=True), Token("Tea.", 1)])
    one.settle()
    one.hear(SECOND)
    one.talk.send("")
    one.settle()
    one.again()
    one.talk.start()
    opened = one.engine.received(do.Open)[-1]
    assert isinstance(opened, do.Open)
    assert opened.turns[0].parts == (do.AddText("what is it", conversation="talk"),)


def test_a_watched_picture_that_is_withdrawn_while_somebody_speaks_is_not_asked(
    table: Make,
) -> None:
    one = table()
    one.settle()
    made = one.picture()
    one.hear(SECOND)
    one.talk.withdraw(made.id)
    assert not one.talk.history.waiting and not (one.folder / made.file).exists()
    one.talk.send("")
    one.settle()
    assert [sound.kind for sound in one.turns()[0].attachments] == ["sound"]
    kinds = [type(command) for command in one.engine.commands]
    assert kinds[kinds.index(do.EndSpeech) :] == [do.EndSpeech, do.Discard, do.AddSound, do.Reply]


def test_an_answer_that_the_user_stopped_keeps_its_figures_without_the_worker(table: Make) -> None:
    one = table("one two three four five six", speed=40)
    one.talk.send("count")
    one.until(lambda: "two" in one.turns()[-1].text)
    one.talk.stop()
    one.talk.close()  # nothing more is read of it
    answer = one.turns()[1]
    assert answer.stats["reply_tokens"] >= 2 and answer.stats["tokens_per_second"] > 0
    assert answer.facts.endswith("stopped")


def test_an_engine_that_is_closed_fails_the_answer_and_nothing_else(table: Make) -> None:
    one = table()
    one.settle()
    one.engine.close()
    one.talk.send("why?")
    assert [turn.state for turn in one.turns()] == ["done", "failed"]
    assert one.talk.state == "ready"


def test_a_full_disk_is_told_once_with_its_path_and_room_and_the_answer_is_still_shown(
    table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = table("one two three")
    one.settle()
    write = os.write

    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    one.talk.send("count")
    one.settle()
    assert one.turns()[1].text == "one two three"
    (problem,) = one.talk.problems
    assert problem.code == "disk_full" and str(one.folder) in problem.cause
    assert "MB are free" in problem.cause
    one.talk.problems.clear()
    monkeypatch.setattr(os, "write", write)
    one.talk.send("once more")
    assert "disk" in one.talk.works and not one.talk.problems
