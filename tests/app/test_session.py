"""The conversation over a fake engine: what is done, what is shown, and what is written."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.conversation.attachments import Ready
from app.conversation.journal import RECORDING
from app.screens.facts import status
from app.settings import DEFAULTS
from app.workspace import Workspace
from mlx_gemma4.events import ContextLow, Dropped, Event, Heard, Moved, Thought, Token
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import Report, Sending
from tests.app.table import SECOND, Make, Recorder, Silent

LARGE = replace(DEFAULTS, model="google/gemma-4-12B-it")


def test_a_question_is_answered_and_both_are_on_the_disk(table: Make) -> None:
    one = table("It is red.")
    assert one.talk.state == "loading"
    one.settle()
    assert one.talk.state == "ready" and one.talk.model is not None
    assert one.talk.send(" why? ") == {1, 2}
    assert one.talk.state == "thinking"
    assert one.settle() == {2}
    question, answer = one.turns()
    assert (question.role, question.text, question.state) == ("user", "why?", "done")
    assert (answer.role, answer.text, answer.state) == ("model", "It is red.", "done")
    assert answer.facts.startswith("3 tokens · ")
    assert one.talk.usage.used > 0 and one.talk.usage.speed > 0
    assert one.again() == [question, answer]


def test_while_layers_are_sent_the_line_on_top_shows_how_far(table: Make) -> None:
    one = table()
    place = cast(Workspace, SimpleNamespace(conversation=one.talk, machine=None, job=None))
    assert status(place, False).state == "loading the model"
    one.talk.fold([Report(None, Sending("mac2.local", 41, 100))])
    assert status(place, False).state == "sending to mac2.local, 41 %"
    one.settle()
    assert status(place, False).state == "ready"


def test_sending_nothing_asks_nothing(table: Make) -> None:
    one = table()
    one.settle()
    assert one.talk.send("  \n") == set()
    assert not one.engine.received(do.Reply) and not one.folder.exists()


def test_a_conversation_that_was_only_opened_leaves_no_folder(table: Make) -> None:
    one = table()
    one.settle()
    one.talk.close()
    assert not one.folder.exists()


def test_escape_keeps_the_part_that_was_said_marked_as_stopped(table: Make) -> None:
    one = table("one two three four five six seven eight", speed=40)
    one.talk.send("count")
    one.until(lambda: one.talk.state == "answering")
    assert one.talk.escape() == {2}
    assert one.turns()[1].state == "interrupted" and one.talk.state == "ready"
    one.settle()
    answer = one.turns()[1]
    assert answer.state == "interrupted" and "one two three".startswith(answer.text[:7])
    assert 0 < len(answer.text) < len("one two three four five six seven eight")
    assert re.match(r"(1 token|[2-8] tokens) · .* · stopped$", answer.facts)
    assert one.talk.escape() is None
    assert one.again()[1] == answer


def test_a_question_during_an_answer_stops_it_first(table: Make) -> None:
    one = table("one two three four five six", "Second.", speed=40)
    one.talk.send("count")
    one.until(lambda: one.talk.state == "answering")
    one.talk.send("stop it")
    one.settle()
    assert [turn.state for turn in one.turns()] == ["done", "interrupted", "done", "done"]
    assert one.turns()[3].text == "Second."
    kinds = [type(command) for command in one.engine.received(do.Reply, do.Stop)]
    assert kinds == [do.Reply, do.Stop, do.Reply]


def test_a_picture_is_read_before_the_question_and_its_tokens_are_true(table: Make) -> None:
    one = table()
    made = one.picture()
    assert made.chip == "[Image #1]" and made.tokens is None
    one.settle()
    waiting = one.talk.history.waiting[made.id]
    assert waiting.size == (640, 400) and waiting.tokens == 126
    one.talk.send("what is it?")
    one.settle()
    assert one.turns()[0].attachments == (waiting,)
    assert not one.talk.history.waiting
    order = [type(command) for command in one.engine.received(do.AddImage, do.AddText, do.Reply)]
    assert order == [do.AddImage, do.AddText, do.Reply]
    assert one.again()[0].attachments == (waiting,)


def test_a_picture_alone_may_be_asked_about(table: Make) -> None:
    one = table()
    one.picture()
    one.talk.send("")
    one.settle()
    assert not one.engine.received(do.AddText) and one.turns()[1].text == "Yes."


def test_a_picture_that_is_taken_back_is_taken_from_the_model_and_the_others_stay(
    table: Make,
) -> None:
    one = table()
    one.settle()
    first, second = one.picture("one"), one.picture("two")
    one.settle()
    one.talk.detach(first.id)
    one.settle()
    assert list(one.talk.history.waiting) == [second.id]
    path = one.folder / second.file
    discard = do.Discard(conversation="talk")
    assert one.engine.received(do.Discard, do.AddImage)[2:] == [discard, one.engine.commands[-1]]
    last = one.engine.received(do.AddImage)[-1]
    assert isinstance(last, do.AddImage) and last.image == path
    assert path.is_file() and not (one.folder / first.file).exists()
    third = one.picture("three")
    assert (third.number, third.id) == (3, 3)  # never a number twice


def test_a_pictures_tokens_can_be_changed_while_it_waits(table: Make) -> None:
    one = table()
    one.talk.settings = LARGE
    assert one.talk.detail() is None
    made = one.picture()
    one.settle()
    changed = one.talk.detail()
    assert changed is not None and (made.budget, changed.budget) == (140, 280)
    later = [one.talk.detail() for _ in range(3)]
    assert [picture and picture.budget for picture in later] == [560, 1120, 70]
    one.settle()
    assert len(one.engine.received(do.AddImage)) == 5


def test_the_tokens_of_a_picture_are_those_that_the_model_was_trained_with(table: Make) -> None:
    one = table()
    assert one.talk.model_name == "tiny"
    assert one.picture().budget == 140
    one.settle()
    changed = [one.talk.detail() for _ in range(3)]
    assert [picture and picture.budget for picture in changed] == [70, 140, 70]


def test_the_tokens_of_a_picture_with_the_models_own_budget_go_up_from_that(table: Make) -> None:
    one = table()
    one.talk.settings = LARGE
    journal = one.talk._journaled.journal
    content = (journal.folder / one.picture().file).read_bytes()
    one.talk.detach(1)
    name = journal.put(content, ".png")
    one.talk.attach(Ready("image", name, "a.png", (640, 400)))
    one.settle()
    changed = one.talk.detail()
    assert changed is not None and changed.budget == 560  # it had 273 of 280


def test_what_the_model_cannot_take_does_not_wait_any_more_and_is_told(table: Make) -> None:
    one = table()
    one.settle()
    one.talk.attach(Ready("image", "nothing.png", "nothing.png", (1, 1), budget=70))
    one.settle()
    assert not one.talk.history.waiting
    assert "nothing.png" in one.talk.problems.popleft().title


def test_a_text_file_becomes_words_with_its_name(table: Make, tmp_path: Path) -> None:
    one = table()
    name = one.talk._journaled.journal.put(b"x = 1\n", ".txt")
    assert one.talk.attach(Ready("text", name, "a.py")).chip == "[a.py]"
    said = do.AddText("a.py:\nx = 1\n\n", conversation="talk")
    assert one.engine.received(do.AddText) == [said]


def test_speech_is_heard_while_it_is_spoken_and_kept_as_a_sound(table: Make) -> None:
    one = table([Heard("what is it"), Token("Tea.", 1)])
    one.settle()
    assert one.hear(SECOND[:10]) == {1}
    assert one.talk.state == "listening" and one.turns()[0].state == "recording"
    one.hear(SECOND[10:])
    recording = one.talk.recording
    assert recording is not None and recording.seconds == pytest.approx(1.0)
    one.until(lambda: one.talk.recording and one.talk.recording.heard == pytest.approx(1.0))
    one.talk.send("")
    one.settle()
    question, answer = one.turns()
    assert (question.heard, answer.text) == ("what is it", "Tea.")
    assert question.attachments[0].chip == "[Audio 0:01]"
    assert (one.folder / question.attachments[0].file).is_file()
    kinds = [type(command) for command in one.engine.received(do.Hear, do.EndSpeech, do.Reply)]
    assert kinds == [do.Hear, do.Hear, do.EndSpeech, do.Reply]
    assert one.engine.received(do.Reply)[0] == do.Reply(1024, heard=True, conversation="talk")


def test_words_alone_need_no_transcript(table: Make) -> None:
    one = table()
    one.talk.send("hello")
    assert one.engine.received(do.Reply) == [do.Reply(1024, heard=False, conversation="talk")]


def test_a_long_recording_becomes_clips_of_thirty_seconds(table: Make) -> None:
    one = table()
    for _ in range(31):
        one.hear(SECOND)
    assert one.talk.recording is not None
    assert (one.talk.recording.clip, one.talk.recording.seconds) == (2, pytest.approx(1.0))
    one.talk.send("")
    assert [clip.chip for clip in one.turns()[0].attachments] == ["[Audio 0:30]", "[Audio 0:01]"]


@pytest.mark.parametrize("end", ["send", "keep_recording", "discard"])
def test_frames_that_come_after_a_recording_are_part_of_no_other(table: Make, end: str) -> None:
    one = table()
    one.hear(SECOND)
    getattr(one.talk, end)(*([""] if end == "send" else []))
    one.talk.record(SECOND)  # they were on their way when it ended
    assert not (one.talk.journal.folder / RECORDING).exists()
    one.hear(SECOND)
    assert one.talk.recording is not None and one.talk.recording.seconds == pytest.approx(1.0)


def test_escape_discards_the_recording_and_keeps_what_else_waits(table: Make) -> None:
    one = table()
    one.settle()
    made = one.picture()
    one.settle()
    for _ in range(31):
        one.hear(SECOND)
    assert one.talk.escape() == {1}
    one.settle()
    assert one.turns() == [] and list(one.talk.history.waiting) == [made.id]
    assert one.talk.state == "ready"
    kinds = [type(command) for command in one.engine.received(do.AddImage, do.Discard)]
    assert kinds == [do.AddImage, do.Discard, do.AddImage]
    assert one.again() == [] and list(one.talk.history.waiting) == [made.id]


def test_talking_stops_the_answer_and_the_voice(table: Make) -> None:
    one = table("one two three four five six", speed=40)
    voice = Silent()
    one.engine.close()
    one.engine = Recorder(("one two three four five six",), 40)
    one.sit(voice)
    one.talk.read_aloud(True)
    one.talk.send("count")
    one.until(lambda: len(voice.heard) >= 2)
    assert voice.speaking
    one.hear(SECOND)
    assert voice.heard[-1] == "<stop>" and not voice.speaking
    assert one.turns()[1].state == "interrupted"
    one.talk.discard()
    one.settle()
    assert "<end>" not in voice.heard
    assert voice.heard[-1] == "<stop>"


def test_an_answer_is_read_aloud_only_where_that_is_wanted(table: Make) -> None:
    one = table("It is red.", "It is blue.")
    voice = Silent()
    one.settle()
    one.sit(voice)
    one.talk.send("why?")
    one.settle()
    assert "It" not in voice.heard
    one.talk.read_aloud(True)
    one.talk.send("and now?")
    one.settle()
    assert "".join(voice.heard).endswith("It is blue.<end>")
    assert one.talk.state == "speaking"
    one.talk.escape()
    assert one.talk.state == "ready"


def test_regenerating_goes_back_to_the_question_and_keeps_what_waits(table: Make) -> None:
    one = table([Heard("say it"), Token("First.", 1)], [Heard("say it"), Token("Second.", 1)])
    one.settle()
    one.hear(SECOND)
    assert not one.talk.can_redo
    one.talk.send("")
    one.settle()
    made = one.picture()
    one.settle()
    assert one.talk.can_redo
    assert one.talk.regenerate() == {2, 3}
    assert not one.talk.can_redo
    one.settle()
    question, answer = one.turns()
    assert (question.heard, answer.text, answer.id) == ("say it", "Second.", 3)
    assert list(one.talk.history.waiting) == [made.id]
    opened = one.engine.received(do.Open)[-1]
    late = one.engine.commands[[each is opened for each in one.engine.commands].index(True) :]
    assert [type(command) for command in late] == [do.Open, do.AddSound, do.Reply, do.AddImage]
    assert isinstance(opened, do.Open) and opened.turns == ()
    assert one.talk.can_redo
    assert [turn.text for turn in one.again()] == ["", "Second."]


def test_editing_takes_the_question_back_with_its_attachments(table: Make) -> None:
    one = table("First.", "Second.", "Third.")
    one.settle()
    one.talk.send("hello")
    one.settle()
    made = one.picture()
    one.talk.send("what is ti?")
    one.settle()
    other = one.picture("other")
    assert one.talk.edit() == "what is ti?"
    one.settle()
    assert [turn.text for turn in one.turns()] == ["hello", "First."]
    assert list(one.talk.history.waiting) == [made.id, other.id]
    assert not one.talk.can_redo and one.talk.edit() == ""
    one.talk.send("what is it?")
    one.settle()
    assert [turn.text for turn in one.turns()][2:] == ["what is it?", "Third."]
    assert one.talk.can_redo


def test_a_question_that_is_taken_back_leaves_the_worker_the_turns_before_it(table: Make) -> None:
    one = table("First.", "Second.", "Third.")
    for question in ("one", "two"):
        one.talk.send(question)
        one.settle()
    one.talk.regenerate()
    one.settle()
    opened = one.engine.received(do.Open)[-1]
    assert isinstance(opened, do.Open)
    said = [(turn.role, [part.text for part in turn.parts]) for turn in opened.turns]  # type: ignore[union-attr]
    assert said == [("user", ["one"]), ("model", ["First."])]
    one.talk.edit()
    one.settle()
    assert one.engine.received(do.Open)[-1].turns[1].parts == opened.turns[1].parts  # type: ignore[union-attr]


def test_thoughts_notices_and_reasons_belong_to_their_turn(table: Make) -> None:
    events: list[Event] = [
        Dropped(2),
        Moved("sound", "relay", 0),
        Thought("Hm. "),
        Thought("Red."),
        Token("Red.", 1),
        ContextLow(100),
    ]
    one = table(events)
    one.talk.send("why?")
    one.settle()
    answer = one.turns()[1]
    assert (answer.thought, answer.text, len(answer.remarks)) == ("Hm. Red.", "Red.", 3)
    assert "2 turns" in answer.remarks[0] and "100" in answer.remarks[2]


def test_an_answer_that_was_cut_says_at_what(table: Make) -> None:
    one = table("a b c d e")
    one.talk.settings = replace(DEFAULTS, max_tokens=2)
    one.talk.send("why?")
    one.settle()
    assert (one.turns()[1].reason, one.turns()[1].text) == ("length", "a b")
    assert "limit" in one.turns()[1].facts


def test_the_situation_decides_which_commands_there_are(table: Make) -> None:
    one = table()
    one.settle()
    assert not one.talk.situation(True).picture and not one.talk.situation(True).answered
    one.picture()
    assert one.talk.situation(False).picture and not one.talk.situation(False).empty
    one.talk.send("why?")
    one.settle()
    assert one.talk.situation(True).answered


def test_tokens_cannot_be_changed_while_somebody_speaks(table: Make) -> None:
    one = table()
    one.settle()
    made = one.picture()
    one.hear(SECOND)
    assert one.talk.detail() is None
    one.talk.detach(made.id)
    assert list(one.talk.history.waiting) == [made.id]
    assert [problem.title for problem in one.talk.problems] == ["Not while you speak"]
