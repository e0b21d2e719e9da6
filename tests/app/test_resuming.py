"""The conversation over the real worker and the tiny model: killed, resumed, and it still knows."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from app.conversation.attachments import file
from app.conversation.controller import ConversationController
from app.conversation.journal import Journal
from app.settings import DEFAULTS
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker

SETTINGS = replace(DEFAULTS, image_tokens=70)  # what the tiny model was trained with
RECEIPT = Path(__file__).parents[2] / "assets/demo/receipt.png"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[SubprocessWorker]:
    with SubprocessWorker(tmp_path / "log") as one:
        yield one


def settle(worker: SubprocessWorker, talk: ConversationController) -> None:
    end = time.monotonic() + 60
    while talk.pending or talk.rereading is not None:
        if (report := worker.read(0.1)) is not None:
            talk.fold([report])
        assert time.monotonic() < end
    assert not talk.problems


def asked(worker: SubprocessWorker, folder: Path) -> ConversationController:
    """A conversation about a receipt."""
    journal = Journal(folder)
    talk = ConversationController(worker, journal, SETTINGS)
    talk.start()
    talk.attach(file(journal, RECEIPT, SETTINGS))
    talk.send("what is the total?")
    settle(worker, talk)
    assert talk.history.turns[2].text == "19.56"
    return talk


def test_a_conversation_is_answered_again_resumed_and_edited(
    worker: SubprocessWorker, tmp_path: Path
) -> None:
    talk = asked(worker, tmp_path / "conversations/talk")
    talk.regenerate()
    settle(worker, talk)
    assert talk.history.turns[3].text == "19.56" and len(talk.history.turns) == 2
    model = talk.model
    talk.close()

    journal = Journal(tmp_path / "conversations/talk")
    talk = ConversationController(worker, journal, SETTINGS, model=model)
    talk.start()
    talk.send("what is the total?")
    settle(worker, talk)
    turns = list(talk.history.turns.values())
    assert [turn.text for turn in turns] == ["what is the total?", "19.56"] * 2
    assert talk.edit() == "what is the total?"
    talk.send("what is the date?")
    settle(worker, talk)
    assert len(talk.history.turns) == 4
    talk.close()


def parked_rows(store: Path) -> int:
    """The most rows in one file; a busy machine may have parked before the answer, too."""
    most = 0
    for index in store.glob("talk/*.json"):
        with suppress(FileNotFoundError):  # another has replaced it
            runs = json.loads(index.read_bytes())["rows"]
            most = max(most, sum(1 if isinstance(run, int) else run[1] for run in runs))
    return most


@pytest.mark.parametrize("parked", [True, False], ids=["parked", "prefix store lost"])
def test_after_a_kill_the_conversation_goes_on_with_what_was_shown_before(
    worker: SubprocessWorker, tmp_path: Path, parked: bool
) -> None:
    talk = asked(worker, tmp_path / "conversations/talk")
    assert worker.pid is not None
    store, end = tmp_path / "prefixes", time.monotonic() + 30
    while parked_rows(store) < talk.usage.used - 60:  # done when nothing else is to be done
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    while not talk.problems:
        if (report := worker.read(0.1)) is not None:
            talk.fold([report])
    assert [problem.code for problem in talk.problems] == ["worker_crashed"]
    talk.problems.clear()
    if not parked:
        shutil.rmtree(store)
    worker.start()
    talk.start()
    reread = 0
    end = time.monotonic() + 60
    while talk.model is None or talk.pending or talk.rereading is not None:
        if (report := worker.read(0.1)) is not None:
            talk.fold([report])
            reread = max(reread, talk.rereading[1] if talk.rereading else 0)
        assert time.monotonic() < end
    assert (reread > 60) is not parked  # the picture alone has 60 tokens
    talk.send("what is the total?")
    settle(worker, talk)
    assert talk.history.turns[4].text == "19.56"
    talk.close()


def test_another_model_reads_the_conversation_again_and_answers_about_its_picture(
    worker: SubprocessWorker, tmp_path: Path
) -> None:
    talk = asked(worker, tmp_path / "conversations/talk")
    talk.settings, talk.model = replace(SETTINGS, model="tiny-4bit"), None
    talk.start()
    talk.send("what is the total?")
    settle(worker, talk)
    assert talk.history.turns[4].text == "19.56" and talk.history.model == "tiny-4bit"
    talk.close()


def test_nothing_is_parked_where_the_settings_say_so(
    worker: SubprocessWorker, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "conversations/talk")
    talk = ConversationController(worker, journal, replace(SETTINGS, park_gigabytes=0.0))
    talk.start()
    talk.send("what is this?")
    settle(worker, talk)
    talk.close()
    worker.close()
    assert not (tmp_path / "prefixes").exists()
