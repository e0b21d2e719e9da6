"""The worker on the random model: it answers as a `Session` does, from another thread."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Token
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime import client, commands, pace
from mlx_gemma4.runtime import worker as worker_module
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
)
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones
from tests.runtime.reading import SETTINGS, answer, done, end_of, first, read, until

PICTURE = Image.new("RGB", (96, 96), "white")
REPLY = commands.Reply(12, 1.0, seed=1)
SOUND = frames(tones([300, 2000], 4.0))


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
        commands.Load(folder),
        commands.Open(settings=SETTINGS),
        commands.AddImage(PICTURE),
        commands.AddText("hello"),
        REPLY,
        commands.Park(),
    ]
    with Worker() as worker:
        numbers = [worker.send(command) for command in asked]
        reports = until(worker, numbers[-1])
    assert {report.command for report in reports} - {None} == set(numbers)
    ends = [r.command for r in reports if isinstance(r.event, Finished | Failed)]
    assert ends == numbers
    times = [report.time for report in reports]
    assert times == sorted(times)
    events = {number: [r.event for r in reports if r.command == number] for number in numbers}
    loaded = events[numbers[0]][0]
    assert isinstance(loaded, Loaded)
    assert (loaded.context, loaded.sees, loaded.hears) == (4096, True, True)
    assert events[numbers[2]][0] == ImageAdded((96, 96), (384, 384), 64)
    figures = events[numbers[4]][-2]
    assert isinstance(figures, Figures)
    assert 64 < figures.used < figures.context == 4096
    assert 0 < figures.cache_bytes < figures.active_bytes <= figures.peak_bytes


def test_a_reply_is_that_of_a_session(worker: Worker, model: Gemma4) -> None:
    done(worker, commands.AddText("hello"))
    events = done(worker, REPLY)
    assert answer(events) == expected(model, text="hello")
    assert isinstance(events[-3], Done)


def test_what_cannot_be_done_has_failed_and_the_worker_goes_on(worker: Worker) -> None:
    with pytest.raises(Gemma4Error, match="nothing.png"):
        done(worker, commands.AddImage("nothing.png"))
    with pytest.raises(Gemma4Error, match="nothing to answer"):
        done(worker, commands.Reply())
    done(worker, commands.AddText("hello"))
    assert answer(done(worker, REPLY))


def test_a_defect_is_reported_with_where_it_is(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Session, "add_text", fail)
    worker.send(commands.AddText("hello"))
    event = first(worker, Failed).event
    assert isinstance(event, Failed)
    assert "ZeroDivisionError: a defect" in event.cause
    assert "test_worker.py" in event.details


def test_without_a_model_every_command_fails_with_that() -> None:
    with Worker() as worker:
        for command in (commands.AddText("a"), commands.Reply(), commands.Open(), commands.Park()):
            with pytest.raises(Gemma4Error, match="No model is loaded"):
                done(worker, command)


def test_a_model_that_is_not_there_leaves_a_worker_that_can_load_another(folder: Path) -> None:
    with Worker() as worker:
        with pytest.raises(Gemma4Error, match="no model"):
            done(worker, commands.Load("nothing-of-the-kind"))
        assert any(isinstance(event, Loaded) for event in done(worker, commands.Load(folder)))


def test_a_stop_ends_a_reply_within_one_token_and_keeps_what_was_drawn(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(worker, commands.AddText("hello"))
    monkeypatch.setattr(client, "UNREAD", 1)  # one report waits, and the worker with the next
    worker.send(commands.Reply(2000, 1.0, seed=1))
    first(worker, Token)
    stop = worker.send(commands.Stop())
    reports = until(worker, stop)
    assert sum(isinstance(r.event, Token) for r in reports) <= 2
    (end,) = [r.event for r in reports if isinstance(r.event, Done)]
    assert end.reason == "cancelled"
    drawn = end.stats["reply_tokens"]
    assert 0 < drawn < 2000
    done(worker, commands.AddText("more"))
    (end,) = [e for e in done(worker, commands.Reply(2, 0.0)) if isinstance(e, Done)]
    assert end.stats["prompt_tokens"] > end.stats["new_prompt_tokens"]


def test_a_stop_before_the_reply_leaves_the_question_open(worker: Worker, model: Gemma4) -> None:
    worker.send(commands.AddText("hello"))
    reply = worker.send(REPLY)
    worker.send(commands.Stop())
    events = [r.event for r in until(worker, reply) if r.command == reply]
    if not answer(events):  # else the stop came too late, which a fast machine may do
        assert answer(done(worker, REPLY)) == expected(model, text="hello")


@pytest.mark.parametrize("pieces", [[1] * 100, [7] * 14 + [2], [100]])
def test_frames_in_any_pieces_are_all_heard_in_order(
    worker: Worker, model: Gemma4, pieces: list[int]
) -> None:
    start = 0
    for piece in pieces:
        number = worker.send(commands.Hear(SOUND[start : start + piece]))
        start += piece
    end = worker.send(commands.EndSpeech())
    reports = until(worker, end)
    hearing = [r.event for r in reports if isinstance(r.event, Hearing)]
    assert hearing[-1].heard == pytest.approx(4.0)
    assert hearing[-1].backlog == 0
    heard = [event.heard for event in hearing]
    assert heard == sorted(heard)
    assert sum(r.command == number and r.event == Finished() for r in reports) == 1
    assert answer(done(worker, REPLY)) == expected(model, sound=SOUND)


def test_frames_are_read_while_they_come(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BUSY", float("inf"))  # also on a slow machine
    for start in range(0, 30, 10):
        worker.send(commands.Hear(SOUND[start : start + 10]))
        event = first(worker, Hearing).event
        assert event.frames == 10
        assert event.heard == pytest.approx((start + 10) * 0.04)
        assert event.took > 0
    worker.send(commands.Hear(SOUND[30:33]))
    worker.send(commands.EndSpeech())
    held = first(worker, Hearing).event
    assert (held.frames, held.heard) == (0, pytest.approx(33 * 0.04))
    (end,) = [e for e in done(worker, commands.Reply(1, 0.0)) if isinstance(e, Done)]
    assert end.stats["new_prompt_tokens"] < 15  # the three frames and what ends the turn


def test_a_command_that_comes_while_somebody_speaks_is_done_at_once(worker: Worker) -> None:
    speech = worker.send(commands.Hear(SOUND[:12]))
    text = worker.send(commands.AddText("also"))
    reports = until(worker, text)  # would wait for ever for the end of speech
    assert not any(r.command == speech and r.event == Finished() for r in reports)
    worker.send(commands.Hear(SOUND[12:30]))
    reports = until(worker, worker.send(commands.EndSpeech()))
    last = [r.event for r in reports if isinstance(r.event, Hearing)][-1]
    assert last.heard == pytest.approx(30 * 0.04)


def test_a_machine_that_cannot_keep_up_reports_it_holds_the_rest_and_loses_nothing(
    worker: Worker, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FRAME_SECONDS", 1e-7)  # no machine is as fast as that
    for module in (pace, worker_module):
        monkeypatch.setattr(module, "LONGEST", 20)
    speech = worker.send(commands.Hear(SOUND))
    report = first(worker, FellBehind)
    assert report.command == speech
    assert report.event.speed < 1
    worker.send(commands.EndSpeech())
    reports = until(worker, speech)
    assert all(r.event.frames == 0 for r in reports if isinstance(r.event, Hearing))
    assert answer(done(worker, REPLY)) == expected(model, sound=SOUND)


def test_a_recording_is_discarded_and_another_heard(worker: Worker, model: Gemma4) -> None:
    worker.send(commands.Hear(SOUND[:25]))
    done(worker, commands.Discard())
    worker.send(commands.Hear(SOUND[40:]))
    assert answer(done(worker, REPLY)) == expected(model, sound=SOUND[40:])


def test_an_utterance_that_cannot_be_heard_fails_and_the_next_is_heard(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Gemma4Error("context_full", "Full", "It is full.", "Stop.")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "listening", fail)
        with pytest.raises(Gemma4Error, match="It is full"):
            until(worker, worker.send(commands.Hear(SOUND[:20])))
    speech = worker.send(commands.Hear(SOUND[:20]))
    worker.send(commands.EndSpeech())
    assert [r for r in until(worker, speech) if isinstance(r.event, Hearing)]


def test_a_slow_reader_gets_every_token(
    worker: Worker, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "UNREAD", 2)
    done(worker, commands.AddText("hello"))
    number = worker.send(commands.Reply(30, 1.0, seed=1))
    events: list[Any] = []
    while events[-1:] != [Finished()]:
        time.sleep(0.005)
        report = read(worker)
        events += [report.event] * (report.command == number)
    assert answer(events) == expected(model, tokens=30, text="hello")


def test_deferred_work_is_done_while_idle_and_the_next_command_interrupts_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, interrupted = threading.Event(), threading.Event()

    def reading(_: Session) -> Any:
        try:
            while True:
                started.set()
                time.sleep(0.001)
                yield 1, 2
        finally:
            interrupted.set()

    first(worker, Idle)
    monkeypatch.setattr(Session, "reading", reading)
    done(worker, commands.Discard())
    assert started.wait(60)
    assert not interrupted.is_set()
    done(worker, commands.AddText("hello"))
    assert interrupted.is_set()


def test_it_reports_when_nothing_is_left_to_do(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = iter([True, True, False])

    def reading(_: Session) -> Any:
        yield 1, 1
        return next(worked, False)

    first(worker, Idle)
    monkeypatch.setattr(Session, "reading", reading)
    done(worker, commands.Discard())
    first(worker, Idle)
    assert next(worked, None) is None
    assert worker.read(0.05) is None


def test_deferred_work_that_fails_is_a_report_of_no_command(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise Gemma4Error("context_full", "Full", "It is full.", "Stop.")

    first(worker, Idle)
    monkeypatch.setattr(Session, "reading", fail)
    done(worker, commands.Discard())
    report = first(worker, Failed)
    assert (report.command, report.conversation, report.event) == (
        None,
        "main",
        Failed("context_full", "Full", "It is full.", "Stop."),
    )
    done(worker, commands.Discard())


def test_the_model_works_on_one_thread_only(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
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
    worker.send(commands.Hear(SOUND[:20]))
    done(worker, commands.Reply(4, 0.0))
    assert threads == {"mlx"}


def test_there_is_one_worker_at_a_time_and_another_after_it(folder: Path) -> None:
    with Worker(), pytest.raises(Gemma4Error, match="There is a worker already"):
        Worker()
    with Worker() as worker:
        done(worker, commands.Load(folder))


def test_closing_cancels_a_reply_and_reports_what_was_left(worker: Worker) -> None:
    done(worker, commands.AddText("hello"))
    reply = worker.send(commands.Reply(4000, 1.0, seed=1))
    left = [worker.send(commands.AddText("later")), worker.send(commands.Reply())]
    first(worker, Token)
    worker.close()
    *reports, last = worker
    assert end_of([r.event for r in reports]).stats["reply_tokens"] < 4000
    assert last.event == Closed()
    assert [r.command for r in reports if isinstance(r.event, Finished)] == [reply]
    assert [r.command for r in reports if isinstance(r.event, Failed)] == left
    worker.close()


PROGRAM = """
import sys
from mlx_gemma4.runtime.commands import AddText, Load, Open, Reply
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.events import Token
worker = Worker()
for command in (Load(sys.argv[1]), Open(), AddText("hello"), Reply(4000, 1.0, seed=1)):
    worker.send(command)
next(r for r in worker if isinstance(r.event, Token))
"""


@pytest.mark.parametrize(
    ("end", "status"), [("worker.close()", 0), ("", 0), ("sys.exit(3)", 3), ("1 / 0", 1)]
)
def test_a_program_ends_as_it_wants_to_while_the_worker_works(
    folder: Path, end: str, status: int
) -> None:
    command = [sys.executable, "-c", PROGRAM + end, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    assert "ZeroDivisionError" in ended.stderr if status == 1 else ended.stderr == ""
