"""The conversation over the real engine and the tiny model: killed, resumed, and it still knows."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.conversation.attachments import file
from app.conversation.controller import ConversationController
from app.conversation.journal import Journal
from app.settings import DEFAULTS
from mlx_gemma4.runtime.subprocess_worker import EngineProcess

SETTINGS = replace(DEFAULTS, image_tokens=70)  # what the tiny model was trained with
RECEIPT = Path(__file__).parents[2] / "assets/demo/receipt.png"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    with EngineProcess(tmp_path / "log") as one:
        yield one


def settle(engine: EngineProcess, talk: ConversationController) -> None:
    end = time.monotonic() + 60
    while talk.pending:
        if (report := engine.read(0.1)) is not None:
            talk.fold(report)
        assert time.monotonic() < end
    assert not talk.problems


def test_a_conversation_goes_on_after_a_kill_with_what_was_shown_before(
    engine: EngineProcess, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "talk")
    talk = ConversationController(engine, journal, SETTINGS)
    talk.begin()
    talk.attach(file(journal, RECEIPT, SETTINGS))
    talk.send("what is the total?")
    settle(engine, talk)
    assert talk.history.turns[2].text == "19.56"
    talk.regenerate()
    settle(engine, talk)
    assert talk.history.turns[3].text == "19.56" and len(talk.history.turns) == 2
    assert engine.pid is not None
    journal.close()

    model = talk.model
    talk = ConversationController(engine, Journal(tmp_path / "talk"), SETTINGS, model=model)
    talk.begin()  # the engine forgets, and restores
    talk.send("what is the total?")
    settle(engine, talk)
    turns = list(talk.history.turns.values())
    assert [turn.text for turn in turns] == ["what is the total?", "19.56"] * 2
    assert talk.unknown == set()
    assert talk.edit() == "what is the total?"
    talk.send("what is the date?")
    settle(engine, talk)
    assert len(talk.history.turns) == 4
    talk.close()
