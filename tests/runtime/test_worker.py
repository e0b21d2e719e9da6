"""The engine on the random model: it answers as a `Session` does, from another thread."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.unit.engines import answer, done, first, read, until

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Token
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime import client, pace
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime import worker as engine_module
from mlx_gemma4.runtime.reports import (
    Closed,
    Failed,
    FellBehind,
    Figures,
    Finished,
    Hearing,
    Idle,
    ImageAdded,
    Loaded,
    Marked,
)
from mlx_gemma4.runtime.worker import Engine
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones

PICTURE = Image.new("RGB", (96, 96), "white")
REPLY = do.Reply(12, 1.0, seed=1)
SOUND = frames(tones([300, 2000], 4.0))


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with Engine() as engine:
        until(engine, engine.send(do.Load(folder, do.Settings(image_tokens=70))))
        yield engine


def expected(model: Gemma4, tokens: int = 12, sound: Any = None, text: str = "") -> str:
    """What a session on this thread answers."""
    session = Session(model, image_tokens=70)
    if text:
        session.add_text(text)
    if sound is not None:
        session.hear(sound)
    said = answer(list(session.reply(tokens, 1.0, seed=1)))
    assert said
    return said


def test_every_report_names_its_command_and_each_command_ends_once(
    folder: Path, model: Gemma4
) -> None:
    asked = [
        do.Load(folder, do.Settings(image_tokens=70)),
        do.AddImage(PICTURE),
        do.AddText("hello"),
        REPLY,
        do.Mark(),
    ]
    with Engine() as engine:
        numbers = [engine.send(command) for command in asked]
        reports = until(engine, numbers[-1])
    assert {report.command for report in reports} - {None} == set(numbers)
    ends = [r.command for r in reports if isinstance(r.event, Finished | Failed)]
    assert ends == numbers
    times = [report.time for report in reports]
    assert times == sorted(times)
    events = {number: [r.event for r in reports if r.command == number] for number in numbers}
    loaded = events[numbers[0]][0]
    assert isinstance(loaded, Loaded)
    assert (loaded.context, loaded.sees, loaded.hears) == (4096, True, True)
    assert events[numbers[1]][0] == ImageAdded((96, 96), (384, 384), 64)
    figures = events[numbers[3]][-2]
    assert isinstance(figures, Figures)
    assert 64 < figures.used < figures.context == 4096
    assert 0 < figures.cache_bytes < figures.active_bytes <= figures.peak_bytes


def test_a_reply_is_that_of_a_session(engine: Engine, model: Gemma4) -> None:
    done(engine, do.AddText("hello"))
    events = done(engine, REPLY)
    assert answer(events) == expected(model, text="hello")
    assert isinstance(events[-3], Done)


def test_what_cannot_be_done_is_told_and_the_engine_goes_on(engine: Engine) -> None:
    with pytest.raises(Gemma4Error, match="nothing.png"):
        done(engine, do.AddImage("nothing.png"))
    with pytest.raises(Gemma4Error, match="nothing to answer"):
        done(engine, do.Reply())
    done(engine, do.AddText("hello"))
    assert answer(done(engine, REPLY))


def test_a_defect_is_told_with_where_it_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Session, "add_text", fail)
    engine.send(do.AddText("hello"))
    event = first(engine, Failed).event
    assert isinstance(event, Failed)
    assert "ZeroDivisionError: a defect" in event.cause
    assert "test_engine.py" in event.details


def test_without_a_model_it_is_said_that_none_is_loaded() -> None:
    with Engine() as engine:
        for command in (do.AddText("a"), do.Reply(), do.New(), do.Restore("x"), do.Mark()):
            with pytest.raises(Gemma4Error, match="No model is loaded"):
                done(engine, command)


def test_a_model_that_is_not_there_leaves_an_engine_that_can_load_another(folder: Path) -> None:
    with Engine() as engine:
        with pytest.raises(Gemma4Error, match="no model"):
            done(engine, do.Load("nothing-of-the-kind"))
        assert any(isinstance(event, Loaded) for event in done(engine, do.Load(folder)))


def test_a_stop_ends_a_reply_within_one_token_and_keeps_what_was_said(engine: Engine) -> None:
    done(engine, do.AddText("hello"))
    reply = engine.send(do.Reply(2000, 1.0, seed=1))
    report = first(engine, Token)
    stopped = time.perf_counter()
    stop = engine.send(do.Stop())
    reports = until(engine, stop)
    tokens = [r for r in reports if r.command == reply and isinstance(r.event, Token)]
    assert sum(r.time > stopped for r in tokens) <= 1
    (end,) = [r.event for r in reports if isinstance(r.event, Done)]
    assert end.reason == "cancelled"
    said = end.stats["reply_tokens"]
    assert report.time < stopped
    assert 0 < said < 2000
    done(engine, do.AddText("more"))
    (end,) = [e for e in done(engine, do.Reply(2, 0.0)) if isinstance(e, Done)]
    assert end.stats["prompt_tokens"] > end.stats["new_prompt_tokens"]


def test_a_stop_before_the_reply_leaves_the_question_open(engine: Engine, model: Gemma4) -> None:
    engine.send(do.AddText("hello"))
    reply = engine.send(REPLY)
    engine.send(do.Stop())
    events = [r.event for r in until(engine, reply) if r.command == reply]
    if not answer(events):  # else the stop came too late, which a fast machine may do
        assert answer(done(engine, REPLY)) == expected(model, text="hello")


@pytest.mark.parametrize("pieces", [[1] * 100, [7] * 14 + [2], [100]])
def test_frames_in_any_pieces_are_all_heard_in_order(
    engine: Engine, model: Gemma4, pieces: list[int]
) -> None:
    start = 0
    for piece in pieces:
        number = engine.send(do.Hear(SOUND[start : start + piece]))
        start += piece
    end = engine.send(do.EndSpeech())
    reports = until(engine, end)
    hearing = [r.event for r in reports if isinstance(r.event, Hearing)]
    assert hearing[-1].heard == pytest.approx(4.0)
    assert hearing[-1].backlog == 0
    heard = [event.heard for event in hearing]
    assert heard == sorted(heard)
    assert sum(r.command == number and r.event == Finished() for r in reports) == 1
    assert answer(done(engine, REPLY)) == expected(model, sound=SOUND)


def test_frames_are_read_while_they_come(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BUSY", float("inf"))  # also on a slow machine
    for start in range(0, 30, 10):
        engine.send(do.Hear(SOUND[start : start + 10]))
        event = first(engine, Hearing).event
        assert event.frames == 10
        assert event.heard == pytest.approx((start + 10) * 0.04)
        assert event.took > 0
    engine.send(do.Hear(SOUND[30:33]))
    engine.send(do.EndSpeech())
    held = first(engine, Hearing).event
    assert (held.frames, held.heard) == (0, pytest.approx(33 * 0.04))
    (end,) = [e for e in done(engine, do.Reply(1, 0.0)) if isinstance(e, Done)]
    assert end.stats["new_prompt_tokens"] < 15  # the three frames and what ends the turn


def test_a_command_that_comes_while_somebody_speaks_is_done_at_once(engine: Engine) -> None:
    speech = engine.send(do.Hear(SOUND[:12]))
    text = engine.send(do.AddText("also"))
    reports = until(engine, text)  # would wait for ever for the end of speech
    assert not any(r.command == speech and r.event == Finished() for r in reports)
    engine.send(do.Hear(SOUND[12:30]))
    reports = until(engine, engine.send(do.EndSpeech()))
    last = [r.event for r in reports if isinstance(r.event, Hearing)][-1]
    assert last.heard == pytest.approx(30 * 0.04)


def test_a_machine_that_cannot_keep_up_says_so_holds_the_rest_and_loses_nothing(
    engine: Engine, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FRAME_SECONDS", 1e-7)  # no machine is as fast as that
    for module in (pace, engine_module):
        monkeypatch.setattr(module, "LONGEST", 20)
    speech = engine.send(do.Hear(SOUND))
    report = first(engine, FellBehind)
    assert report.command == speech
    assert report.event.speed < 1
    engine.send(do.EndSpeech())
    reports = until(engine, speech)
    assert all(r.event.frames == 0 for r in reports if isinstance(r.event, Hearing))
    assert answer(done(engine, REPLY)) == expected(model, sound=SOUND)


def test_a_recording_is_discarded_and_another_heard(engine: Engine, model: Gemma4) -> None:
    engine.send(do.Hear(SOUND[:25]))
    done(engine, do.Discard())
    engine.send(do.Hear(SOUND[40:]))
    assert answer(done(engine, REPLY)) == expected(model, sound=SOUND[40:])


def test_an_utterance_that_cannot_be_heard_fails_and_the_next_is_heard(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Gemma4Error("context_full", "Full", "It is full.", "Stop.")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "hear", fail)
        with pytest.raises(Gemma4Error, match="It is full"):
            until(engine, engine.send(do.Hear(SOUND[:20])))
    speech = engine.send(do.Hear(SOUND[:20]))
    engine.send(do.EndSpeech())
    assert [r for r in until(engine, speech) if isinstance(r.event, Hearing)]


def test_a_slow_reader_gets_every_token(
    engine: Engine, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "UNREAD", 2)
    done(engine, do.AddText("hello"))
    number = engine.send(do.Reply(30, 1.0, seed=1))
    events: list[Any] = []
    while events[-1:] != [Finished()]:
        time.sleep(0.005)
        report = read(engine)
        events += [report.event] * (report.command == number)
    assert answer(events) == expected(model, tokens=30, text="hello")


def test_marks_lead_back_and_are_forgotten(engine: Engine) -> None:
    (marked, *_) = done(engine, do.Mark())
    assert isinstance(marked, Marked)
    answers = []
    for _ in range(2):
        done(engine, do.AddText("hello"))
        answers.append(answer(done(engine, REPLY)))
        done(engine, do.Rewind(marked.mark))
    assert answers[0] == answers[1] != ""
    done(engine, do.Forget(marked.mark))
    with pytest.raises(Gemma4Error, match="no such mark"):
        done(engine, do.Rewind(marked.mark))


def test_a_new_conversation_knows_nothing_of_the_old_one(engine: Engine, model: Gemma4) -> None:
    done(engine, do.AddText("something else"))
    done(engine, do.Reply(4, 0.0))
    (marked, *_) = done(engine, do.Mark())
    assert any(isinstance(e, Figures) and e.used == 0 for e in done(engine, do.New()))
    with pytest.raises(Gemma4Error, match="no such mark"):
        done(engine, do.Rewind(marked.mark))
    done(engine, do.AddText("hello"))
    assert answer(done(engine, REPLY)) == expected(model, text="hello")


@pytest.mark.parametrize("cache", [True, False])
def test_a_conversation_is_saved_and_gone_on_with(
    engine: Engine, tmp_path: Path, cache: bool
) -> None:
    done(engine, do.AddText("hello"))
    done(engine, REPLY)
    done(engine, do.Save(tmp_path / "talk", cache))
    done(engine, do.AddText("and now"))
    before = answer(done(engine, REPLY))
    done(engine, do.New())
    done(engine, do.Restore(tmp_path / "talk"))
    done(engine, do.AddText("and now"))
    assert answer(done(engine, REPLY)) == before != ""


def test_deferred_work_is_done_while_idle_and_the_next_command_interrupts_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, interrupted = threading.Event(), threading.Event()

    def idle(_: Session, cancelled: Any) -> bool:
        began.set()
        deadline = time.monotonic() + 20
        while not cancelled() and time.monotonic() < deadline:
            time.sleep(0.001)
        if cancelled():
            interrupted.set()
        return True

    monkeypatch.setattr(Session, "idle", idle)
    done(engine, do.Mark())
    assert began.wait(20)
    assert not interrupted.is_set()
    done(engine, do.AddText("hello"))
    assert interrupted.is_set()


def test_it_says_when_nothing_is_left_to_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = iter([True, True, False])
    monkeypatch.setattr(Session, "idle", lambda *_: next(worked, False))
    done(engine, do.Mark())
    first(engine, Idle)
    assert next(worked, None) is None
    assert engine.read(0.05) is None


def test_deferred_work_that_fails_is_told_as_a_report_of_no_command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise Gemma4Error("context_full", "Full", "It is full.", "Stop.")

    monkeypatch.setattr(Session, "idle", fail)
    done(engine, do.Mark())
    report = first(engine, Failed)
    assert (report.command, report.event) == (
        None,
        Failed("context_full", "Full", "It is full.", "Stop."),
    )
    done(engine, do.Mark())


def test_the_model_works_on_one_thread_only(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlx.core as mx

    threads = set()

    def noticed(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            threads.add(threading.current_thread().name)
            return function(*arguments)

        return call

    for name in ("eval", "async_eval"):
        monkeypatch.setattr(mx, name, noticed(getattr(mx, name)))
    engine.send(do.Hear(SOUND[:20]))
    done(engine, do.Reply(4, 0.0))
    assert threads == {"mlx"}


def test_there_is_one_engine_at_a_time_and_another_after_it(folder: Path) -> None:
    with Engine(), pytest.raises(Gemma4Error, match="There is an engine already"):
        Engine()
    with Engine() as engine:
        done(engine, do.Load(folder))


def test_closing_stops_a_reply_and_tells_what_was_left(engine: Engine) -> None:
    done(engine, do.AddText("hello"))
    reply = engine.send(do.Reply(4000, 1.0, seed=1))
    left = [engine.send(do.AddText("later")), engine.send(do.Reply())]
    first(engine, Token)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 5
    *reports, last = engine
    assert last.event == Closed()
    assert [r.command for r in reports if isinstance(r.event, Finished)] == [reply]
    assert [r.command for r in reports if isinstance(r.event, Failed)] == left
    engine.close()


PROGRAM = """
import sys
from mlx_gemma4.engine.commands import AddText, Load, Reply
from mlx_gemma4.engine.engine import Engine
from mlx_gemma4.events import Token
engine = Engine()
engine.send(Load(sys.argv[1])); engine.send(AddText("hello")); engine.send(Reply(4000, 1.0))
next(r for r in engine if isinstance(r.event, Token))
"""


@pytest.mark.parametrize(
    ("end", "status"), [("engine.close()", 0), ("", 0), ("sys.exit(3)", 3), ("1 / 0", 1)]
)
def test_a_program_ends_as_it_wants_to_while_the_engine_works(
    folder: Path, end: str, status: int
) -> None:
    command = [sys.executable, "-c", PROGRAM + end, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    assert "ZeroDivisionError" in ended.stderr if status == 1 else ended.stderr == ""
