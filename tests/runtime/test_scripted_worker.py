from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Heard, Token
from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.reports import (
    Closed,
    Crashed,
    Failed,
    Figures,
    Finished,
    Hearing,
    ImageAdded,
    Reading,
    Rereading,
)
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.runtime.reading import answer, done, first, read, until

RECEIPT = Path(__file__).parents[2] / "assets" / "demo" / "receipt.png"
SECOND = np.zeros((25, 640), np.float32)


def test_answers_come_in_their_order_and_then_from_the_beginning() -> None:
    with ScriptedWorker(["One two.", [Heard("what"), Token("Three.", 0)]]) as worker:
        replies = [done(worker, commands.Reply()) for _ in range(3)]
    assert [answer(events) for events in replies] == ["One two.", "Three.", "One two."]
    assert Heard("what") in replies[1]
    for events in replies:
        done_event = next(event for event in events if isinstance(event, Done))
        assert done_event.reason == "stop"
        assert isinstance(events[-2], Figures)
        assert events[-1] == Finished()


def test_it_is_as_slow_as_it_is_asked_to_be_and_stops_within_a_token() -> None:
    with ScriptedWorker(["word " * 1000], tokens_per_second=50) as worker:
        worker.send(commands.Reply())
        times = [first(worker, Token).time for _ in range(5)]
        assert times[-1] - times[0] > 0.06  # it waits between two; no machine makes that shorter
        worker.send(commands.Stop())
        end = first(worker, Done).event
        assert isinstance(end, Done)
        assert end.reason == "cancelled"
        assert end.stats["reply_tokens"] < 20


def test_a_limit_of_tokens_ends_a_reply() -> None:
    with ScriptedWorker(["one two three"]) as worker:
        events = done(worker, commands.Reply(max_tokens=2))
    assert answer(events) == "one two"
    assert any(isinstance(event, Done) and event.reason == "length" for event in events)


def test_an_error_in_the_script_fails_the_reply_alone() -> None:
    with ScriptedWorker([Gemma4Error("bad", "Bad", "It is.", "Repair it."), "Good."]) as worker:
        with pytest.raises(Gemma4Error, match="Bad"):
            done(worker, commands.Reply())
        assert answer(done(worker, commands.Reply())) == "Good."


def test_a_picture_has_the_size_that_the_model_would_see() -> None:
    with ScriptedWorker() as worker:
        done(worker, commands.Open(settings=commands.SessionSettings(image_tokens=70)))
        for picture in (RECEIPT, Image.open(RECEIPT), np.asarray(Image.open(RECEIPT))):
            added = done(worker, commands.AddImage(picture))[0]
            assert added == ImageAdded((288, 480), (288, 480), 60)


def test_speech_is_heard_in_order_and_what_waits_is_counted() -> None:
    with ScriptedWorker(hearing_speed=10) as worker:
        speech = [worker.send(commands.Hear(SECOND)) for _ in range(3)]
        assert len({*speech}) == 1
        sent = [0.0]
        for heard in (1, 2, 3):
            event = first(worker, Hearing).event
            assert isinstance(event, Hearing)
            assert event.heard == pytest.approx(heard)
            sent.append(event.heard + event.backlog)
        assert sent == sorted(sent) and sent[-1] == pytest.approx(3)
        reply = worker.send(commands.Reply())
        ends = [r.command for r in until(worker, reply) if r.event == Finished()]
        assert ends == [speech[0], reply]


def test_a_crash_is_reported_as_a_process_would_and_it_starts_again() -> None:
    with ScriptedWorker(["word " * 1000], tokens_per_second=10) as worker:
        reply = worker.send(commands.Reply())
        first(worker, Token)
        worker.crash()
        failed = first(worker, Failed)
        assert failed.command == reply
        report = read(worker)
        assert report.command is None
        assert isinstance(report.event, Crashed)
        worker.start()
        assert done(worker, commands.AddText("a"))[-1] == Finished()
    assert [report.event for report in worker][-1] == Closed()


def test_turns_of_a_conversation_that_is_opened_are_read_again_unless_it_is_open() -> None:
    turns = (commands.PastTurn("user", (commands.AddText("one two three"),)),)
    with ScriptedWorker() as worker:
        events = done(worker, commands.Open(turns, conversation="a"))
        assert events[:2] == [Rereading(3), Reading(3, 3)]
        events = done(worker, commands.Open(turns, conversation="a"))
        assert not any(isinstance(event, Rereading) for event in events)
        assert isinstance(events[-2], Figures) and events[-2].used == 3
        done(worker, commands.Close(conversation="a"))
        assert Rereading(3) in done(worker, commands.Open(turns, conversation="a"))
