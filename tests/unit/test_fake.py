from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Heard, Token
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import (
    Closed,
    Crashed,
    Failed,
    Figures,
    Finished,
    Hearing,
    ImageAdded,
)
from mlx_gemma4.testing.scripted_worker import FakeEngine
from tests.unit.engines import answer, done, first, read, until

RECEIPT = Path(__file__).parents[2] / "assets" / "demo" / "receipt.png"
SECOND = np.zeros((25, 640), np.float32)


def test_answers_come_in_their_order_and_then_from_the_beginning() -> None:
    with FakeEngine(["One two.", [Heard("what"), Token("Three.", 0)]]) as engine:
        replies = [done(engine, do.Reply()) for _ in range(3)]
    assert [answer(events) for events in replies] == ["One two.", "Three.", "One two."]
    assert Heard("what") in replies[1]
    for events in replies:
        done_event = next(event for event in events if isinstance(event, Done))
        assert done_event.reason == "stop"
        assert isinstance(events[-2], Figures)
        assert events[-1] == Finished()


def test_it_is_as_slow_as_it_is_told_and_stops_within_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited, wait = [], FakeEngine._wait

    def noted(engine: FakeEngine, seconds: float) -> bool:
        waited.append(seconds)
        return wait(engine, seconds)

    monkeypatch.setattr(FakeEngine, "_wait", noted)
    with FakeEngine(["word " * 1000], tokens_per_second=10) as engine:
        engine.send(do.Reply())
        for _ in range(5):
            first(engine, Token)
        assert set(waited) == {0.1} and len(waited) >= 4
        engine.send(do.Stop())
        end = first(engine, Done).event
        assert isinstance(end, Done)
        assert end.reason == "cancelled"
        assert end.stats["reply_tokens"] < 20


def test_a_limit_of_tokens_ends_a_reply() -> None:
    with FakeEngine(["one two three"]) as engine:
        events = done(engine, do.Reply(max_tokens=2))
    assert answer(events) == "one two"
    assert any(isinstance(event, Done) and event.reason == "length" for event in events)


def test_an_error_in_the_script_fails_the_reply_alone() -> None:
    with FakeEngine([Gemma4Error("bad", "Bad", "It is.", "Mend it."), "Good."]) as engine:
        with pytest.raises(Gemma4Error, match="Bad"):
            done(engine, do.Reply())
        assert answer(done(engine, do.Reply())) == "Good."


def test_a_picture_has_the_size_that_the_model_would_see() -> None:
    with FakeEngine() as engine:
        done(engine, do.Load("tiny", do.Settings(image_tokens=70)))
        for picture in (RECEIPT, Image.open(RECEIPT), np.asarray(Image.open(RECEIPT))):
            added = done(engine, do.AddImage(picture))[0]
            assert added == ImageAdded((288, 480), (288, 480), 60)


def test_speech_is_heard_as_fast_as_it_is_told() -> None:
    with FakeEngine(hearing_speed=10) as engine:
        speech = [engine.send(do.Hear(SECOND)) for _ in range(3)]
        assert len({*speech}) == 1
        backlogs = []
        for heard in (1, 2, 3):
            event = first(engine, Hearing).event
            assert isinstance(event, Hearing)
            assert event.heard == pytest.approx(heard)
            backlogs.append(event.backlog)
        assert backlogs == pytest.approx([2, 1, 0])
        reply = engine.send(do.Reply())
        ends = [r.command for r in until(engine, reply) if r.event == Finished()]
        assert ends == [speech[0], reply]


def test_a_crash_is_told_as_a_process_would_and_it_starts_again() -> None:
    with FakeEngine(["word " * 1000], tokens_per_second=10) as engine:
        reply = engine.send(do.Reply())
        first(engine, Token)
        engine.crash()
        failed = first(engine, Failed)
        assert failed.command == reply
        report = read(engine)
        assert report.command is None
        assert isinstance(report.event, Crashed)
        engine.start()
        assert done(engine, do.AddText("a"))[-1] == Finished()
    assert [report.event for report in engine][-1] == Closed()
