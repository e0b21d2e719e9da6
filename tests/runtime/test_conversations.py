"""Several conversations on one worker: none disturbs another, and none waits for a long one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlx_gemma4.events import Done, Token
from mlx_gemma4.generation import prefill_decode
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime import commands, slots
from mlx_gemma4.runtime.reports import Failed, Finished, Reading, Report
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones
from tests.runtime.reading import answer, done, first, read

SETTINGS = commands.SessionSettings(image_tokens=70)
SOUND = frames(tones([300, 2000], 1.0))
PICTURE = Image.new("RGB", (96, 96), "white")


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    with Worker() as worker:
        done(worker, commands.Load(folder))
        for conversation in "ab":
            done(worker, commands.Open(settings=SETTINGS, conversation=conversation))
        yield worker


def finished(worker: Worker, *numbers: int) -> list[Report]:
    """All reports until each of these commands is done or has failed."""
    reports: list[Report] = []
    left = {*numbers}
    while left:
        reports.append(read(worker))
        if isinstance(reports[-1].event, Finished | Failed):
            left.discard(reports[-1].command or 0)
    return reports


def of(reports: list[Report], number: int) -> list[Any]:
    return [report.event for report in reports if report.command == number]


def drawn(events: list[Any]) -> tuple[str, tuple[int, ...]]:
    """What a reply was: its text and its ids."""
    (end,) = [event for event in events if isinstance(event, Done)]
    return answer(events), end.ids


def test_two_conversations_at_once_draw_what_each_would_draw_alone(
    worker: Worker, model: Gemma4
) -> None:
    alone: dict[str, list[tuple[str, tuple[int, ...]]]] = {"a": [], "b": []}
    sessions = {name: Session(model, image_tokens=70) for name in "ab"}
    together: dict[str, list[tuple[str, tuple[int, ...]]]] = {"a": [], "b": []}
    mixed = False
    for turn in range(3):
        sessions["a"].add_image(PICTURE)
        sessions["a"].add_text(f"hello {turn}")
        sessions["b"].hear(SOUND)
        for name, session in sessions.items():
            alone[name].append(drawn(list(session.reply(20, 1.0, seed=turn))))
        worker.send(commands.AddImage(PICTURE, conversation="a"))
        worker.send(commands.AddText(f"hello {turn}", conversation="a"))
        first_reply = worker.send(commands.Reply(20, 1.0, seed=turn, conversation="a"))
        for start in range(0, 25, 5):
            worker.send(commands.Hear(SOUND[start : start + 5], conversation="b"))
        second_reply = worker.send(commands.Reply(20, 1.0, seed=turn, conversation="b"))
        reports = finished(worker, first_reply, second_reply)
        together["a"].append(drawn(of(reports, first_reply)))
        together["b"].append(drawn(of(reports, second_reply)))
        names = [r.conversation for r in reports if isinstance(r.event, Token)]
        mixed = mixed or names != sorted(names)
    assert together == alone
    assert all(text for text, _ in together["a"] + together["b"])
    assert mixed  # else nothing was shown


def test_a_long_answer_does_not_hold_up_a_short_one(worker: Worker) -> None:
    for conversation in "ab":
        done(worker, commands.AddText("hello", conversation=conversation))
    long = worker.send(commands.Reply(2000, 1.0, seed=1, conversation="a"))
    first(worker, Token)
    short = worker.send(commands.Reply(5, 0.0, conversation="b"))
    reports = finished(worker, short)
    assert of(reports, short)[-1] == Finished()
    assert not any(isinstance(event, Finished) for event in of(reports, long))
    stop = worker.send(commands.Stop(conversation="a"))
    (end,) = [r.event for r in finished(worker, long, stop) if isinstance(r.event, Done)]
    assert end.reason == "cancelled"


def test_a_stop_is_for_its_own_conversation(worker: Worker) -> None:
    numbers = {}
    for conversation in "ab":
        done(worker, commands.AddText("hello", conversation=conversation))
    for conversation in "ab":
        reply = commands.Reply(200, 1.0, seed=1, conversation=conversation)
        numbers[conversation] = worker.send(reply)
    first(worker, Token)
    worker.send(commands.Stop(conversation="a"))
    reports = finished(worker, *numbers.values())
    reasons = {
        name: event.reason
        for name, number in numbers.items()
        for event in of(reports, number)
        if isinstance(event, Done)
    }
    assert reasons["a"] == "cancelled"
    assert reasons["b"] in ("length", "stop")


def test_a_long_prompt_is_read_in_short_chunks_while_somebody_speaks_elsewhere(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "SHORT_CHUNK", 64)
    monkeypatch.setattr(slots, "CHUNK", 256)
    worker.send(commands.Hear(SOUND[:5], conversation="b"))  # it goes on
    done(worker, commands.AddText("hello " * 100, conversation="a"))
    events = done(worker, commands.Reply(1, 0.0, conversation="a"))
    read_so_far = [event.done for event in events if isinstance(event, Reading)]
    assert read_so_far[:2] == [64, 128]
    done(worker, commands.Discard(conversation="b"))
    done(worker, commands.AddText("hello " * 100, conversation="a"))
    events = done(worker, commands.Reply(1, 0.0, conversation="a"))
    read_so_far = [event.done for event in events if isinstance(event, Reading)]
    assert read_so_far[0] == 256


def test_a_conversation_that_fails_does_not_disturb_another(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(worker, commands.AddText("hello", conversation="a"))
    long = worker.send(commands.Reply(40, 1.0, seed=1, conversation="a"))
    first(worker, Token)
    failing = worker.send(commands.Reply(conversation="b"))  # nothing was added
    reports = finished(worker, long, failing)
    assert [event.code for event in of(reports, failing)] == ["nothing_to_answer"]
    assert answer(of(reports, long))
    assert of(reports, long)[-1] == Finished()


def test_what_is_closed_frees_its_slot_and_keeps_the_others(worker: Worker) -> None:
    done(worker, commands.AddText("hello", conversation="a"))
    done(worker, commands.AddText("hello", conversation="b"))
    done(worker, commands.Close(conversation="a"))
    assert answer(done(worker, commands.Reply(5, 0.0, conversation="b"))) is not None
    failed = finished(worker, worker.send(commands.Reply(conversation="a")))[-1].event
    assert isinstance(failed, Failed)
    assert failed.code == "conversation_not_open"


def test_the_chunks_of_the_worker_are_those_of_prefill() -> None:
    assert slots.CHUNK == prefill_decode.CHUNK
    assert slots.SHORT_CHUNK == 256
