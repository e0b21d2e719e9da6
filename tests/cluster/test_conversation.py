"""A whole conversation over two computers: the events of one process, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlx_gemma4
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.cluster.leader import LeadingModel
from mlx_gemma4.events import Done, Event
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.prefix_store import PrefixStore
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones
from tests.cluster.processes import lead

SOUND = frames(tones([300, 2000], 2.0))


def plain(events: Iterable[Event]) -> list[Any]:
    """Events without what a clock has measured."""
    counts = ("prompt_tokens", "new_prompt_tokens", "reply_tokens")
    result = []
    for event in events:
        known = asdict(event)
        if isinstance(event, Done):
            known["stats"] = {name: event.stats.get(name) for name in counts}
            known["ids"] = list(event.ids)
        result.append([type(event).__name__, known])
    return result


def talk(model: Gemma4, place: Path) -> list[Any]:
    """A picture, sound, hearing, a relay, speculation, a cancel, undo, parking and saving."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    session = Session(model, hearing="relay", store=PrefixStore(place / "parked"))
    seen: list[Any] = []
    session.add_image(picture, 70)
    session.add_text("what is this? " * 30)
    seen += plain(session.reply(12, temperature=1.0, seed=1))
    for start in range(0, len(SOUND), 8):
        session.hear(SOUND[start : start + 8])
    seen += plain(session.reply(12, temperature=1.0, seed=2))
    seen.append(session.park("a"))
    direct = Session(model, hearing="direct")
    direct.add_audio(tones([440], 1.0), 16000)
    for start in range(0, len(SOUND), 10):
        direct.hear(SOUND[start : start + 10])
    seen += plain(direct.reply(10, temperature=1.0, seed=3, heard=True))
    guessing = Session(model, hearing="direct", draft="lookup")
    guessing.add_text("one two three four. " * 8)
    seen += plain(guessing.reply(24, temperature=0.0))
    place_before = session.mark()
    session.add_text("count to a hundred")
    drawn = 0

    def cancelled() -> bool:
        nonlocal drawn
        drawn += 1
        return drawn > 6

    seen += plain(session.reply(200, temperature=1.0, seed=4, cancelled=cancelled))
    session.rewind(place_before)
    session.add_text("and again")
    seen += plain(session.reply(12, temperature=1.0, seed=5))
    session.save(place / "saved")
    seen.append(Session.restore(model, place / "saved", hearing="relay").unread)
    restored = Session.restore(model, place / "saved", hearing="relay")
    restored.add_text("go on")
    seen += plain(restored.reply(12, temperature=1.0, seed=6))
    store = PrefixStore(place / "parked")
    seen.append(Session(model, hearing="relay", turns=session.turns, store=store).unread)
    return seen


def both(hosts: list[str], folder: str, place: str) -> dict[str, Any]:
    """In a leader: the events alone and spread, and what is left on the workers."""
    alone = talk(mlx_gemma4.load(folder), Path(place, "alone"))
    model = mlx_gemma4.load(folder, hosts=Hosts(tuple(hosts), patience=120))
    assert isinstance(model, LeadingModel)
    spread = talk(model, Path(place, "spread"))
    left = []
    for worker in model.crew.workers:
        model.crew.broadcast("alive")  # what finalizers have put off goes before it
        model.crew.send(worker, "count")
        left.append(model.crew.reply(worker, "count")[1])
    return {"alone": alone, "spread": spread, "left": left}


def test_a_conversation_has_the_events_of_one_process_and_leaves_nothing(
    folders: dict[str, str], tmp_path: Path
) -> None:
    module = "tests.cluster.test_conversation"
    result = lead(module, "both", ["local", "local"], folders["tiny fp32"], str(tmp_path))
    assert result["spread"] == result["alone"]
    kinds = [event[0] for event in result["alone"] if isinstance(event, list)]
    assert kinds.count("Done") == 7
    assert "Heard" in kinds and "Token" in kinds
    ends = [event[1] for event in result["alone"] if isinstance(event, list) and event[0] == "Done"]
    assert "cancelled" in [end["reason"] for end in ends]
    assert [(one["caches"], one["marks"]) for one in result["left"]] == [(0, 0)] * 2


def turned_back(hosts: list[str]) -> list[list[Any]]:
    """In a leader: what is read and answered after edits far back, alone and spread."""
    found = []
    for spread in (None, Hosts(tuple(hosts), patience=120)):
        model = mlx_gemma4.load("tiny", hosts=spread)
        seen: list[Any] = []

        def ask(session: Session, text: str, ahead: str = "", seen: list[Any] = seen) -> None:
            session.add_text(text)
            seen += plain(session.reply(5, temperature=0.0))
            while ahead and session.idle():
                pass
            session.add_text(ahead)
            while ahead and session.idle():  # read, and then taken back
                pass
            session.discard()

        document = "one two " * 300
        session = Session(model, "be brief " * 4)
        ask(session, document + "what is it", "three four " * 300)
        session.open(())
        ask(session, document + "what was that")
        session = Session(model, "be brief " * 60)
        ask(session, "what is it")
        fork = Session(model, "be brief " * 60)
        fork.use(session.cache.fork(len(session.cache)))
        ask(fork, "one two " * 400)
        fork.open(())
        ask(fork, "another question")
        ask(session, "and now")
        found.append(seen)
    return found


def test_edits_far_back_read_and_answer_the_same_over_several_computers() -> None:
    alone, spread = lead("tests.cluster.test_conversation", "turned_back", ["local"])
    assert spread == alone


def drafted(hosts: list[str], cut: list[int]) -> dict[str, Any]:
    """In a leader: replies that the drafter proposes for, alone and spread."""
    found: dict[str, Any] = {}
    for name, spread in (
        ("alone", None),
        ("spread", Hosts(tuple(hosts), tuple(cut), patience=120)),
    ):
        model = mlx_gemma4.load("tiny", drafter="tiny-drafter", hosts=spread)
        for kv_bits in (None, 8):
            session = Session(model, hearing="direct", draft=4, kv_bits=kv_bits)
            session.add_image(Path(mlx_gemma4.__file__).parents[1] / "assets/demo/receipt.png")
            session.add_text("Read all lines.")
            events = [*session.reply(60, temperature=0.0)]
            session.add_text("What is the total?")
            events += session.reply(20, temperature=1.0, seed=1)
            counts = ("drafted", "accepted", "target_forwards")
            ends = [event for event in events if isinstance(event, Done)]
            stats = [[end.stats[count] for count in counts] for end in ends]
            found.setdefault(name, []).append([plain(events), stats])
    return found


@pytest.mark.parametrize(("hosts", "cut"), [(["local"], []), (["local", "local"], [4, 5])])
def test_a_drafter_proposes_the_same_over_several_computers(
    hosts: list[str], cut: list[int]
) -> None:
    result = lead("tests.cluster.test_conversation", "drafted", hosts, cut)
    assert result["spread"] == result["alone"]
    for _, stats in result["alone"]:
        drafted, accepted, forwards = stats[0]
        assert accepted > drafted / 2 and accepted > forwards
