"""A session that speculates: the same events, turns and rows as one that does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.chat.messages import SoundPart, TextPart
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Thought, Token, ToolCall
from mlx_gemma4.generation.sampler import Draws, Sampler
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import session as session_module
from mlx_gemma4.session.session import Session
from tests.unit.drafters import tiny_drafter

TOOLS = [{"type": "function", "function": {"name": "find", "description": "d", "parameters": {}}}]
REPLIES = {
    "a text": "one two three four five six seven eight nine ten<turn|>",
    "letters of several bytes": "grüße aus Köln: €uro, naïve, 東京 and back again<turn|>",
    "a thought": "<|channel>thought\nlet me see whether it is so<channel|>it is so, I think<turn|>",
    "two calls": 'so <|tool_call>call:find{a:<|"|>x y z<|"|>}<tool_call|>'
    "<|tool_call>call:find{b:12345}<tool_call|><|tool_response><turn|>",
}
VOICE = (np.random.default_rng(2).standard_normal((40, 640)) * 0.1).astype(np.float32)


@dataclass
class Script:
    """What the model draws, whatever its logits are; its drafter knows it, but for every third."""

    ids: list[int]
    drawn: int = 0

    def draft(self, target: Any, cache: Any, token: Any, hidden: Any, count: int) -> mx.array:
        rest = (self.ids[self.drawn :] + [0] * count)[:count]
        at = range(self.drawn, self.drawn + count)
        return mx.array([id_ ^ (n % 3 == 0) for n, id_ in zip(at, rest, strict=True)])


@pytest.fixture
def speaks(model: Gemma4, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Have replies be a text with control tokens spelled in it, in sessions that are made then."""
    tokenizer = Tokenizer.from_folder(model.folder)

    def speak(text: str) -> None:
        script = Script(tokenizer.encode(text, special=True))

        class Scripted(Sampler):
            def ahead(self, logits: mx.array) -> Draws:
                ids = (script.ids[script.drawn :] + [script.ids[-1]] * len(logits))[: len(logits)]
                keys: list[Any] = [script.drawn + 1 + n for n in range(len(logits))]
                return Draws(mx.array(ids, mx.uint32), keys)

            def keep(self, draws: Draws, count: int) -> None:
                script.drawn = int(draws.keys[count - 1])  # type: ignore[call-overload]

        monkeypatch.setattr(session_module, "Sampler", Scripted)
        model.attach(script)

    yield speak
    model.attach(None)


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """Events by kind and content; calls without their ids, which are random."""
    found: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case Token(text, id_):
                found.append(("token", text, id_))
            case Thought(text):
                found.append(("thought", text))
            case ToolCall(_, name, arguments):
                found.append(("call", name, arguments))
            case Done(reason, stats, ids):
                found.append(("done", reason, ids, stats["reply_tokens"], stats["prompt_tokens"]))
    return found


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("draft", [1, 4, "auto"])
def test_events_turns_and_rows_are_the_same(
    model: Gemma4, speaks: Any, reply: str, draft: int | str
) -> None:
    results = []
    for setting in ("off", draft):
        speaks(REPLIES[reply])
        session = Session(model, tools=TOOLS, thinking=reply == "a thought", draft=setting)  # type: ignore[arg-type]
        session.add_text("go on")
        events = list(session.reply(temperature=0))
        stats = events[-1].stats  # type: ignore[union-attr]
        results.append((told(events), session.turns, session.unread, session.context))
        if draft == 4 and setting == 4:
            assert stats["accepted"] >= stats["reply_tokens"] / 3
            assert stats["target_forwards"] < 0.7 * stats["reply_tokens"]
        elif setting == "off":
            assert stats["drafted"] == stats["accepted"] == 0
    plain, drafted = results
    assert plain[0] == drafted[0]
    assert plain[1:] == drafted[1:]


@pytest.mark.parametrize("events", [1, 2, 3, 5, 8])
def test_a_reply_that_is_left_anywhere_is_continued_and_saved_as_a_plain_one(
    model: Gemma4, speaks: Any, events: int, tmp_path: Any
) -> None:
    kept = []
    for draft in ("off", 8):
        speaks(REPLIES["a text"])
        session = Session(model, draft=draft)  # type: ignore[arg-type]
        session.add_text("go on")
        reply = session.reply(temperature=0)
        for _ in range(events):
            next(reply)
        reply.close()
        assert session.turns[-1].interrupted
        session.save(tmp_path / str(draft))
        restored = Session.restore(model, tmp_path / str(draft))
        session.add_text("and now?")
        speaks("well<turn|>")
        *_, done = session.reply(temperature=0)
        assert isinstance(done, Done)
        kept.append((session.turns, restored.turns, restored.unread, done.stats["prompt_tokens"]))
    assert kept[0] == kept[1]


@pytest.mark.parametrize("room", [1, 2, 3, 4, 6, 8, 9, 10, 11])
def test_a_context_that_is_full_anywhere_is_continued_and_saved_as_a_plain_one(
    model: Gemma4, speaks: Any, room: int, tmp_path: Path
) -> None:
    """Of eight proposals at a time every third is wrong: runs end and are cut at these places."""
    kept, text = [], "a longer question, of which not all is wanted later on " * 3
    for draft in ("off", 8):
        speaks(REPLIES["a text"])
        session = Session(model, draft=draft)  # type: ignore[arg-type]
        session.add_text(text)
        *_, first = session.reply(1, temperature=0)
        assert isinstance(first, Done)
        rows = int(first.stats["prompt_tokens"]) + room
        speaks(REPLIES["a text"])
        session = Session(model, draft=draft, context=rows)  # type: ignore[arg-type]
        session.add_text(text)
        *_, done = session.reply(temperature=0)
        assert isinstance(done, Done)
        assert (done.reason, len(done.ids), done.stats["reply_tokens"]) == ("context", room, room)
        assert rows - 1 <= len(session.cache) == len(session.cache.rows) <= rows
        session.save(tmp_path / str(draft))
        restored = Session.restore(model, tmp_path / str(draft))
        with pytest.raises(Gemma4Error) as error:
            session.add_text("and now?")
            list(session.reply(temperature=0))
        assert error.value.code == "context_full"
        # where the context is longer, it goes on from there
        restored.add_text("and now?")
        speaks("well<turn|>")
        events = list(restored.reply(temperature=0))
        kept.append((session.turns, restored.turns, told(events), len(restored.cache)))
    assert kept[0] == kept[1]


def test_sound_that_is_heard_during_a_reply_is_all_there(model: Gemma4, speaks: Any) -> None:
    heard = []
    for draft in ("off", 8):
        speaks(REPLIES["a text"])
        session = Session(model, draft=draft)  # type: ignore[arg-type]
        session.add_text("go on")
        reply = session.reply(temperature=0)
        for _ in range(3):
            next(reply)
        for start in range(0, 40, 10):
            session.hear(VOICE[start : start + 10])
        speaks("well<turn|>")
        list(session.reply(temperature=0))
        sounds = [p for t in session.turns for p in t.parts if isinstance(p, SoundPart)]
        texts = [[p.text for p in t.parts if isinstance(p, TextPart)] for t in session.turns]
        heard.append((texts, [(t.role, t.interrupted) for t in session.turns], session.context))
        assert len(sounds) == 1
        assert np.array_equal(np.concatenate([part.frames for part in sounds]), VOICE)
    assert heard[0] == heard[1]


def test_a_number_without_a_drafter_is_refused(model: Gemma4) -> None:
    with pytest.raises(Gemma4Error) as error:
        Session(model, draft=4)
    assert error.value.code == "drafter_missing"


def test_a_reply_under_a_grammar_is_the_same_with_a_drafter(model: Gemma4) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answers = []
    for drafter, draft in ((None, "off"), (tiny_drafter(model.config), 4)):
        model.attach(drafter)
        session = Session(model, draft=draft)  # type: ignore[arg-type]
        session.add_text("a number")
        events = list(session.reply(30, temperature=0, seed=1, grammar=schema))
        answers.append(told(events))
        assert events[-1].stats["drafted"] == 0  # type: ignore[union-attr]
    model.attach(None)
    assert answers[0] == answers[1]


def test_the_speed_counts_the_forward_that_gave_all_tokens_at_once(
    model: Gemma4, speaks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: float(next(now)))
    monkeypatch.setattr("mlx_gemma4.session.reply.time", clock)
    speaks(REPLIES["a text"])
    session = Session(model, draft=8)
    session.add_text("go on")
    *_, done = session.reply(temperature=0)
    assert isinstance(done, Done)
    assert done.stats["tokens_per_second"] < 1  # n - 1 of them by a clock that n + 1 look at
