"""Conversations that a worker opens again: what is read again, and what is not."""

from pathlib import Path

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Thought, ToolCall
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.commands import SLOTS
from mlx_gemma4.runtime.reports import (
    Idle,
    Noted,
    Reading,
    Rereading,
)
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.session.session import Session
from tests.runtime.reading import SETTINGS, answer, done, end_of, first, read, until
from tests.runtime.test_worker import PICTURE, REPLY, expected


def past(role: str, text: str, ids: tuple[int, ...] = ()) -> commands.PastTurn:
    return commands.PastTurn(role, (commands.AddText(text),), ids)  # type: ignore[arg-type]


def test_a_question_is_taken_back_edited_or_answered_again_without_reading_it_again(
    worker: Worker, model: Gemma4
) -> None:
    done(worker, commands.AddText("hello"))
    events = done(worker, REPLY)
    said, end = answer(events), end_of(events)
    turns = (past("user", "hello"), past("model", said, end.ids))
    done(worker, commands.AddText("a second question"))
    done(worker, REPLY)
    for event in done(worker, commands.Open(turns, SETTINGS)):  # take the second back
        assert not isinstance(event, Rereading)
    done(worker, commands.AddText("an edited question"))
    edited = done(worker, REPLY)
    assert end_of(edited).stats["new_prompt_tokens"] < 12
    session = Session(model, image_tokens=70)
    for text in ("hello", "an edited question"):
        session.add_text(text)
        expected = answer(list(session.reply(12, 1.0, seed=1)))
    assert answer(edited) == expected != ""


def test_turns_that_no_cache_holds_are_read_at_once_and_it_is_reported_how_many(
    worker: Worker,
) -> None:
    turns = (past("user", "hello " * 100), past("model", "yes"))
    opened = worker.send(commands.Open(turns, SETTINGS, conversation="other"))
    reports = until(worker, opened)
    (rereading,) = [r for r in reports if isinstance(r.event, Rereading)]
    assert rereading.conversation == "other"
    tokens = rereading.event.tokens
    assert tokens > 512
    reading = []
    while not isinstance((report := read(worker)).event, Idle):
        reading += [report] if isinstance(report.event, Reading) else []
    assert {(r.command, r.conversation) for r in reading} == {(None, "other")}
    assert [r.event.done for r in reading] == [512, tokens]
    done(worker, commands.AddText("and", conversation="other"))
    end = end_of(done(worker, commands.Reply(2, 0.0, conversation="other")))
    assert end.stats["new_prompt_tokens"] < 12


def test_a_stop_puts_the_reading_of_turns_off_until_the_next_reply(worker: Worker) -> None:
    turns = (past("user", "hello " * 100), past("model", "yes"))
    opened = worker.send(commands.Open(turns, SETTINGS))
    stop = worker.send(commands.Stop())
    reports = until(worker, opened) + until(worker, stop)
    while not isinstance((report := read(worker)).event, Idle):
        reports.append(report)
    assert any(isinstance(r.event, Rereading) for r in reports)
    assert not any(isinstance(r.event, Reading) and r.event.done == r.event.total for r in reports)
    done(worker, commands.AddText("and"))
    assert end_of(done(worker, commands.Reply(2, 0.0))).stats["new_prompt_tokens"] > 64


def test_a_conversation_that_was_parked_is_not_read_again(worker: Worker, tmp_path: Path) -> None:
    settings = commands.SessionSettings(image_tokens=70, park=tmp_path / "parked")
    done(worker, commands.Open(settings=settings, conversation="a"))
    done(worker, commands.AddText("hello", conversation="a"))
    events = done(worker, commands.Reply(6, 1.0, seed=1, conversation="a"))
    first(worker, Idle)
    done(worker, commands.Close(conversation="a"))
    turns = (past("user", "hello"), past("model", answer(events), end_of(events).ids))
    opened = done(worker, commands.Open(turns, settings, conversation="a"))
    assert not any(isinstance(event, Rereading) for event in opened)
    assert (tmp_path / "parked" / "a").is_dir()


def test_a_new_conversation_knows_nothing_of_the_old_one(worker: Worker, model: Gemma4) -> None:
    done(worker, commands.AddText("something else"))
    done(worker, commands.Reply(4, 0.0))
    done(worker, commands.Open(settings=SETTINGS))
    done(worker, commands.AddText("hello"))
    assert answer(done(worker, REPLY)) == expected(model, text="hello")


def test_past_turns_hold_pictures_sound_and_tools(worker: Worker, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "picture.png")
    call = ToolCall("c1", "weather", {"place": "Bonn"})
    turns = (
        commands.PastTurn(
            "user", (commands.AddImage(tmp_path / "picture.png"), commands.AddText("what?"))
        ),
        commands.PastTurn("model", (Thought("hm"), call)),
        commands.PastTurn("user", (commands.AddToolResult("c1", "sunny"),)),
        commands.PastTurn("model", (commands.AddText("sunny"),)),
    )
    tools = ({"type": "function", "function": {"name": "weather", "parameters": {}}},)
    events = done(worker, commands.Open(turns, SETTINGS, tools))
    assert any(isinstance(event, Rereading) and event.tokens > 64 for event in events)
    first(worker, Idle)
    (tmp_path / "picture.png").unlink()
    events = done(worker, commands.Open(turns, SETTINGS, tools))
    assert any(isinstance(e, Noted) and "picture.png" in e.text for e in events)
    done(worker, commands.AddText("and now?"))
    assert end_of(done(worker, commands.Reply(2, 0.0))).reason == "length"


def test_a_command_to_a_conversation_that_is_not_open_fails(worker: Worker) -> None:
    with pytest.raises(Gemma4Error, match="not open") as caught:
        done(worker, commands.AddText("hello", conversation="nobody"))
    assert caught.value.code == "conversation_not_open"
    done(worker, commands.Close(conversation="nobody"))


def test_only_so_many_conversations_can_be_open(worker: Worker) -> None:
    for number in range(SLOTS - 1):
        done(worker, commands.Open(conversation=str(number)))
    with pytest.raises(Gemma4Error) as caught:
        done(worker, commands.Open(conversation="one more"))
    assert caught.value.code == "slots_full"
    done(worker, commands.Close(conversation="0"))
    done(worker, commands.Open(conversation="one more"))
