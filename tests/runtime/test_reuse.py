"""What a conversation shares with an earlier one is not read again."""

from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.events import Done, ToolCall
from mlx_gemma4.runtime.commands import (
    AddText,
    AddToolResult,
    Close,
    Load,
    Open,
    PastTurn,
    Reply,
    SessionSettings,
)
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.session import prefix_cache
from tests.runtime.reading import answer, done

SYSTEM = PastTurn("system", (AddText("be brief " * 16),))
names = (f"request-{number}" for number in count())


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    with Worker() as worker:
        done(worker, Load(folder, slots=2))
        yield worker


def user(text: str) -> PastTurn:
    return PastTurn("user", (AddText(text),))


def model(text: str) -> PastTurn:
    return PastTurn("model", (AddText(text),))


def replied(
    worker: Worker, *turns: PastTurn, settings: SessionSettings | None = None, most: int = 3
) -> tuple[str, Done]:
    """Answer a whole conversation, as a request does: its text, and how it went."""
    name = next(names)
    settings = settings or SessionSettings()
    done(worker, Open(turns, settings, read_ahead=False, conversation=name))
    events = done(worker, Reply(most, 0.0, seed=1, conversation=name))
    done(worker, Close(keep=True, conversation=name))
    return answer(events), next(event for event in events if isinstance(event, Done))


def new(reply: tuple[str, Done]) -> int:
    """Tokens of the prompt that were read."""
    return int(reply[1].stats["new_prompt_tokens"])


def test_a_conversation_that_comes_back_longer_is_continued(worker: Worker) -> None:
    first = replied(worker, SYSTEM, user("a question"))
    second = replied(worker, SYSTEM, user("a question"), model(first[0]), user("more"))
    assert new(first) > 100
    assert new(second) < 20


def test_a_request_between_takes_the_other_slot(worker: Worker) -> None:
    first = replied(worker, SYSTEM, user("a question"))
    replied(worker, PastTurn("system", (AddText("a title " * 16),)), user("a question"))
    second = replied(worker, SYSTEM, user("a question"), model(first[0]), user("more"))
    assert new(second) < 20


def test_a_branch_copies_what_both_share_and_leaves_the_other_as_it_was(worker: Worker) -> None:
    document = user("one two " * 80)
    first = replied(worker, SYSTEM, document)
    branch = replied(worker, SYSTEM, user("another question"))
    assert new(branch) < 30  # the checkpoint after the system's turn
    second = replied(worker, SYSTEM, document, model(first[0]), user("more"))
    assert new(second) < 20


def test_a_branch_is_answered_as_if_nothing_had_been_shared(worker: Worker, folder: Path) -> None:
    document = user("one two " * 80)
    replied(worker, SYSTEM, document)
    branched = replied(worker, SYSTEM, user("another question"), most=6)
    done(worker, Load(folder, slots=2))
    alone = replied(worker, SYSTEM, user("another question"), most=6)
    assert new(branched) < new(alone)
    assert branched[1].ids == alone[1].ids


def test_a_closed_conversation_that_is_opened_again_keeps_its_rows(worker: Worker) -> None:
    turns = (SYSTEM, user("what is it"))
    for _ in range(2):
        done(worker, Open(turns, SessionSettings(), read_ahead=False, conversation="a"))
        done(worker, Reply(3, 0.0, seed=1, conversation="a"))
        done(worker, Close(keep=True, conversation="a"))
    done(worker, Open(turns, SessionSettings(), read_ahead=False, conversation="a"))
    replied(worker, SYSTEM, user("what is it now"))
    done(worker, AddText("more", conversation="a"))


def test_the_rows_that_were_used_least_recently_make_room(worker: Worker) -> None:
    systems = [PastTurn("system", (AddText(f"{word} " * 40),)) for word in ("red", "blue", "dog")]
    for system in systems:
        replied(worker, system, user("a question"))
    assert new(replied(worker, systems[1], user("a question"))) < 10
    assert new(replied(worker, systems[0], user("a question"))) > 60


def test_what_made_room_is_found_again_on_the_disk(
    worker: Worker, folder: Path, tmp_path: Path
) -> None:
    settings = SessionSettings(park=tmp_path)
    systems = [PastTurn("system", (AddText(f"{word} " * 40),)) for word in ("red", "blue", "dog")]
    for system in systems:
        first = replied(worker, system, user("a question"), settings=settings)
    again = replied(worker, systems[0], user("a question"), settings=settings)
    assert new(again) < 10
    assert first != again
    done(worker, Load(folder))  # parks what is left
    parked = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(parked) == 3  # the one that came back has kept its name


@pytest.mark.parametrize("comes_back_as", [2.0, 2])  # JavaScript knows one kind of number
def test_a_call_that_comes_back_is_not_read_again(
    worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch, comes_back_as: float
) -> None:
    # blanks and an order of keys that we would not write
    text = '<|channel>thought\nhm<channel|><|tool_call>call:ls{ to:<|"|>x<|"|>,at:2.0}<tool_call|>'
    ids = Tokenizer.from_folder(folder).encode(text, special=True)

    def drawn(model: Any, _: Any, cache: Any, *rest: Any) -> Generator[int]:
        model.hidden(model.embed(ids), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", drawn)
    turns = [SYSTEM, user("list")]
    name = next(names)
    done(worker, Open(tuple(turns), read_ahead=False, conversation=name))
    events = done(worker, Reply(conversation=name))
    done(worker, Close(keep=True, conversation=name))
    call = next(event for event in events if isinstance(event, ToolCall))
    assert call.arguments == {"to": "x", "at": 2.0}
    back = ToolCall(call.id, "ls", {"at": comes_back_as, "to": "x"})
    turns += [PastTurn("model", (back,)), PastTurn("user", (AddToolResult(call.id, "a.txt"),))]
    result = Tokenizer.from_folder(folder).encode("<|tool_response>response:ls{}", special=True)
    assert new(replied(worker, *turns)) < len(result) + 30


def test_a_longer_prompt_than_the_context_that_was_asked_for_is_refused(worker: Worker) -> None:
    with pytest.raises(Exception, match="too long"):
        replied(worker, SYSTEM, user("a question"), settings=SessionSettings(context=64))
