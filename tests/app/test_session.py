"""The conversation over a fake engine: what is done, what is told, and what is written."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.attach import Ready, shot
from app.capture.screen import Shot
from app.entries import Attachment
from app.history import Turn
from app.journal import Journal
from app.session import Conversation
from app.settings import DEFAULTS
from app.speech import Speaker
from mlx_gemma4 import commands as do
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import ContextLow, Done, Dropped, Event, Heard, Moved, Thought, Token
from mlx_gemma4.fake import Answer, FakeEngine
from mlx_gemma4.reports import Noted, Report

SECOND = np.full((25, 640), 0.25, np.float32)


class Recorder(FakeEngine):
    """A fake engine that remembers what it was told to do."""

    def __init__(self, answers: Sequence[Answer] = ("Yes.",), speed: float = math.inf) -> None:
        self.commands: list[do.Command] = []
        super().__init__(answers, speed)

    def _accept(self, number: int, command: do.Command) -> None:
        self.commands.append(command)
        super()._accept(number, command)

    def told(self, *kinds: type) -> list[do.Command]:
        """The commands of these kinds, in order."""
        return [one for one in self.commands if isinstance(one, kinds)]


class Silent(Speaker):
    """A speaker that only remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.busy = False

    @property
    def speaking(self) -> bool:
        return self.busy

    def add(self, piece: str) -> None:
        self.busy = True
        self.heard.append(piece)

    def finish(self) -> None:
        self.heard.append("<end>")

    def stop(self) -> None:
        self.busy = False
        self.heard.append("<stop>")


class Table:
    """A conversation, its engine and its folder."""

    def __init__(self, folder: Path, *answers: Answer, speed: float = math.inf) -> None:
        self.folder = folder
        self.engine = Recorder(answers or ("Yes.",), speed)
        self.talk = self.sit()

    def sit(self, speaker: Speaker | None = None) -> Conversation:
        self.talk = Conversation(self.engine, Journal(self.folder), DEFAULTS, speaker)
        self.talk.begin()
        return self.talk

    def until(self, condition: Callable[[], object]) -> set[int]:
        """Fold reports until something is so; give the ids of the turns that changed."""
        changed: set[int] = set()
        end = time.monotonic() + 10
        while not condition():
            if (report := self.engine.read(0.05)) is not None:
                changed |= self.talk.fold(report)
            assert time.monotonic() < end, "it did not come to that"
        return changed

    def settle(self) -> set[int]:
        return self.until(lambda: not self.talk.pending)

    def turns(self) -> list[Turn]:
        return list(self.talk.history.turns.values())

    def picture(self, name: str = "window") -> Attachment:
        image = Image.new("RGB", (640, 400), name.encode().hex()[:6].rjust(7, "#"))
        journal = self.talk._ledger.journal
        return self.talk.attach(shot(journal, Shot(image, name), DEFAULTS))

    def again(self) -> list[Turn]:
        """What somebody sees who opens the same folder, after the program was killed."""
        journal = self.talk._ledger.journal
        journal.close()
        self.talk = Conversation(self.engine, Journal(self.folder), DEFAULTS)
        return self.turns()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Callable[..., Table]]:
    made: list[Table] = []

    def make(*answers: Answer, speed: float = math.inf) -> Table:
        made.append(Table(tmp_path / "talk", *answers, speed=speed))
        return made[-1]

    yield make
    for one in made:
        one.talk.close()
        one.engine.close()


Make = Callable[..., Table]


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
    assert one.talk.gauges.used > 0 and one.talk.gauges.speed > 0
    assert one.again() == [question, answer]


def test_sending_nothing_asks_nothing(table: Make) -> None:
    one = table()
    one.settle()
    assert one.talk.send("  \n") == set()
    assert not one.engine.told(do.Reply) and not one.folder.exists()


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
    assert "stopped" in answer.facts and "tokens" in answer.facts
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
    kinds = [type(command) for command in one.engine.told(do.Reply, do.Stop)]
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
    order = [type(command) for command in one.engine.told(do.AddImage, do.AddText, do.Reply)]
    assert order == [do.AddImage, do.AddText, do.Reply]
    assert one.again()[0].attachments == (waiting,)


def test_a_picture_alone_may_be_asked_about(table: Make) -> None:
    one = table()
    one.picture()
    one.talk.send("")
    one.settle()
    assert not one.engine.told(do.AddText) and one.turns()[1].text == "Yes."


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
    assert one.engine.told(do.Rewind, do.AddImage)[2:] == [do.Rewind(1), one.engine.commands[-1]]
    last = one.engine.told(do.AddImage)[-1]
    assert isinstance(last, do.AddImage) and last.image == path
    third = one.picture("three")
    assert (third.number, third.id) == (3, 3)  # never a number twice


def test_a_pictures_tokens_can_be_changed_while_it_waits(table: Make) -> None:
    one = table()
    assert one.talk.detail() is None
    made = one.picture()
    one.settle()
    changed = one.talk.detail()
    assert changed is not None and (made.budget, changed.budget) == (140, 280)
    later = [one.talk.detail() for _ in range(3)]
    assert [picture and picture.budget for picture in later] == [560, 1120, 70]
    one.settle()
    assert len(one.engine.told(do.AddImage)) == 5


def test_the_tokens_of_a_picture_with_the_models_own_budget_go_up_from_that(table: Make) -> None:
    one = table()
    name = one.picture().file
    one.talk.detach(1)
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
    name = one.talk._ledger.journal.put(b"x = 1\n", ".txt")
    assert one.talk.attach(Ready("text", name, "a.py")).chip == "[a.py]"
    assert one.engine.told(do.AddText) == [do.AddText("a.py:\nx = 1\n\n")]


def test_speech_is_heard_while_it_is_spoken_and_kept_as_a_sound(table: Make) -> None:
    one = table([Heard("what is it"), Token("Tea.", 1)])
    one.settle()
    assert one.talk.hear(SECOND[:10]) == {1}
    assert one.talk.state == "listening" and one.turns()[0].state == "recording"
    one.talk.hear(SECOND[10:])
    recording = one.talk.recording
    assert recording is not None and recording.seconds == pytest.approx(1.0)
    one.until(lambda: one.talk.recording and one.talk.recording.heard == pytest.approx(1.0))
    one.talk.send("")
    one.settle()
    question, answer = one.turns()
    assert (question.heard, answer.text) == ("what is it", "Tea.")
    assert question.attachments[0].chip == "[Audio 0:01]"
    assert (one.folder / question.attachments[0].file).is_file()
    kinds = [type(command) for command in one.engine.told(do.Hear, do.EndSpeech, do.Reply)]
    assert kinds == [do.Hear, do.Hear, do.EndSpeech, do.Reply]
    assert one.engine.told(do.Reply)[0] == do.Reply(1024, heard=True)


def test_words_alone_need_no_transcript(table: Make) -> None:
    one = table()
    one.talk.send("hello")
    assert one.engine.told(do.Reply) == [do.Reply(1024, heard=False)]


def test_a_long_recording_becomes_clips_of_thirty_seconds(table: Make) -> None:
    one = table()
    for _ in range(31):
        one.talk.hear(SECOND)
    assert one.talk.recording is not None
    assert (one.talk.recording.clip, one.talk.recording.seconds) == (2, pytest.approx(1.0))
    one.talk.send("")
    assert [clip.chip for clip in one.turns()[0].attachments] == ["[Audio 0:30]", "[Audio 0:01]"]


def test_escape_discards_the_recording_and_keeps_what_else_waits(table: Make) -> None:
    one = table()
    one.settle()
    made = one.picture()
    one.settle()
    for _ in range(31):
        one.talk.hear(SECOND)
    assert one.talk.escape() == {1}
    one.settle()
    assert one.turns() == [] and list(one.talk.history.waiting) == [made.id]
    assert one.talk.state == "ready"
    kinds = [type(command) for command in one.engine.told(do.AddImage, do.Rewind)]
    assert kinds == [do.AddImage, do.Rewind, do.AddImage]
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
    one.talk.hear(SECOND)
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
    one.talk.hear(SECOND)
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
    late = one.engine.commands[one.engine.commands.index(do.Rewind(2)) :]
    assert [type(command) for command in late if isinstance(command, do.Reply | do.AddImage)] == [
        do.Reply,
        do.AddImage,
    ]
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


def test_marks_that_nobody_needs_are_let_go(table: Make) -> None:
    one = table()
    for number in range(6):
        one.talk.send(str(number))
        one.settle()
    one.talk.regenerate()
    one.settle()
    one.talk.edit()
    one.settle()
    marks = set(range(1, len(one.engine.told(do.Mark)) + 1))
    forgotten = [command.mark for command in one.engine.told(do.Forget)]  # type: ignore[union-attr]
    assert len(forgotten) == len(set(forgotten))
    assert len(marks - set(forgotten)) <= 2


def test_an_answer_that_fails_is_a_turn_with_title_cause_and_remedy(table: Make) -> None:
    one = table(Gemma4Error("Too long", "It has 9 tokens.", "Shorten it."), "Yes.")
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
    one.until(lambda: any(problem.crashed for problem in one.talk.problems))
    assert [problem.crashed for problem in one.talk.problems] == [True]
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
    one.until(lambda: any(problem.crashed for problem in one.talk.problems))
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
            raise Gemma4Error("Another model's", "It was saved with others.", "Load it.")
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
    one.talk.hear(SECOND)
    assert one.talk.detail() is None
    one.talk.detach(made.id)
    assert list(one.talk.history.waiting) == [made.id]
    assert [problem.title for problem in one.talk.problems] == ["Not while you speak"]
