"""Whatever happens in whatever order: the caches hold what one prefill of it all would hold."""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.chat.messages import SoundPart, Turn
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Heard
from mlx_gemma4.generation.prefill_decode import Steps, finish
from mlx_gemma4.hub import catalog
from mlx_gemma4.model import cache as kv
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import conversation, pending_turn, prefix_cache, transcriber
from mlx_gemma4.session.prefix_cache import PrefixCache
from mlx_gemma4.session.prefix_store import PrefixStore
from mlx_gemma4.session.rows import PromptRows
from mlx_gemma4.session.session import Session, SessionMark

RNG = np.random.default_rng(4)
PICTURES = RNG.integers(0, 256, (3, 48, 96, 3)).astype(np.uint8)
VOICE = (RNG.standard_normal((400, 640)) * 0.1).astype(np.float32)
SAFE = 110
BOUND = 2e-3
TEMPLATE = Path(__file__).parents[1] / "fixtures" / "gemma4_chat_template.jinja"


SLACKS = (5, 24)
"""Rows that can be dropped for free: with 5, going back often leads past them, to a mark."""
EXAMPLES = 60
"""Schedules in all, of which a quarter for each test; tools/schedules.py runs more."""

_slack = SLACKS[-1]


@contextmanager
def small_numbers(model: Gemma4) -> Iterator[None]:
    """Buffers, slack, clips and segments so small that every border is crossed again and again."""
    known = next(iter(catalog.packages().values()))
    make_cache = Gemma4.make_cache
    # the model's vocabulary is larger than the tokenizer's, which keeps no reply of such ids
    words, every = (
        Tokenizer.from_folder(model.folder).vocab_size,
        model.config.text_config.vocab_size,
    )
    spelled = replace(model.config, suppress_tokens=tuple(range(words, every)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "config", spelled)
        patch.setattr(
            model, "package", replace(known, audio_safe_position=SAFE, transcribe="write")
        )
        patch.setattr(kv, "STEP", 16)
        patch.setattr(
            Gemma4, "make_cache", lambda self, kv_bits=None: make_cache(self, kv_bits, _slack)
        )
        for module in (conversation, transcriber):
            patch.setattr(module, "CLIP", 30)
        patch.setattr(transcriber, "_SPARE", 1)
        patch.setattr(pending_turn, "REACH", 12)
        patch.setattr(prefix_cache, "SEGMENT", 50)
        patch.setattr(prefix_cache, "_FEW", 10)
        yield


@pytest.fixture(autouse=True, scope="module")
def _small_numbers(model: Gemma4) -> Iterator[None]:
    with small_numbers(model):
        yield


def use_slack(slack: int) -> None:
    """Make further caches with other slack."""
    global _slack
    _slack = slack


class Talk:
    """A session, beside a plain account of the sound that it was given."""

    def __init__(
        self,
        model: Gemma4,
        mode: transcriber.HearingMode,
        when_full: conversation.WhenFull = "stop",
    ) -> None:
        self.model, self.mode = model, mode
        # the published template opens a reply with what is not in the history afterwards
        template = TEMPLATE.read_text() if mode == "auto" else None
        self.tokenizer = Tokenizer(Tokenizer.from_folder(model.folder)._backend, template)
        self.session = Session(
            model,
            "be brief",
            image_tokens=70,
            hearing=mode,
            tokenizer=self.tokenizer,
            when_full=when_full,
        )
        self.when_full: conversation.WhenFull = when_full
        self.spoken = 0  # frames of VOICE that were used up
        self.given: list[np.ndarray] = []  # the clips of this turn, but for their cuts,
        self.written: list[np.ndarray] = []  # and those that the relay has transcribed
        self.marks: list[tuple[SessionMark, list[np.ndarray], list[np.ndarray]]] = []
        self.watch()

    def watch(self) -> None:
        """Note what is transcribed."""
        relay = self.session._conversation.transcriber
        transcribe = relay.transcribe

        def noted(clip: SoundPart) -> Steps[str]:
            assert len(clip.frames) <= relay.limit
            if (
                self.session._conversation.pending.relayed
            ):  # else the sound stays in the conversation
                self.written.append(clip.frames)
            return (yield from transcribe(clip))

        relay.transcribe = noted  # type: ignore[method-assign]

    def voice(self, count: int) -> np.ndarray:
        start = self.spoken % (len(VOICE) - count)
        self.spoken += count
        return VOICE[start : start + count]

    def do(self, step: str, number: int) -> None:
        session = self.session
        if step == "text":
            session.add_text(f"word{number} " * (number % 9 + 1))
        elif step == "picture":
            session.add_image(PICTURES[number % 3])
        elif step == "sound":
            clip = self.voice(number % 25 + 3)
            session.add_audio(clip.ravel(), 16_000)
            self.given.append(clip)
        elif step in ("hear", "hold"):
            clip = self.voice(number % 14 + 1)
            getattr(session, step)(clip)
            self.given.append(clip)
        elif step == "mark":
            self.marks.append((session.mark(), list(self.given), list(self.written)))
        elif step == "rewind" and self.marks:
            mark, given, written = self.marks[number % len(self.marks)]
            session.rewind(mark)
            self.given, self.written = list(given), list(written)
        elif step == "discard":
            session.discard()
            self.given, self.written = [], []
        elif step == "idle":
            while session.idle():
                pass
        elif step == "save":
            self.save(cache=number % 3 > 0)
        elif step == "open":
            session.open(session.turns[: 1 + number % len(session.turns)])
            self.given, self.written = [], []
        elif step == "park":
            self.park(number)
        elif step in ("reply", "barge", "asked"):
            self.reply(step, number)

    def reply(self, step: str, number: int) -> None:
        if self.session._conversation.pending.is_empty:
            self.session.add_text("well?")
        reply = self.session.reply(number % 40 + 3, temperature=0, heard=step == "asked")
        told: list[Event] = []
        for event in reply:
            told.append(event)
            if step == "barge" and number % 4 < len(told):
                reply.close()
        turn = self.session.turns[-2] if self.session.turns[-1].role == "model" else None
        if isinstance(told[-1], Done) and told[-1].reason != "silence" and turn:
            clips = [part.frames for part in turn.parts if isinstance(part, SoundPart)]
            assert_same_sound(self.written + clips, self.given)
            wanted = step == "asked" or bool(self.written)
            assert any(isinstance(event, Heard) for event in told) == (wanted and bool(self.given))
        if self.session._conversation.pending.is_empty:
            self.given, self.written = [], []

    def save(self, cache: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.session.save(folder, cache)
            held = len(self.session._conversation.cache)
            before = self.session
            self.session = Session.restore(
                self.model,
                folder,
                self.mode,
                tokenizer=self.tokenizer,
                when_full=self.when_full,
            )
        self.watch()
        assert self.session.context[0] == (held if cache else 0)
        assert self.session.heard_seconds == before.heard_seconds
        self.marks = []  # they are the other session's

    def park(self, number: int) -> None:
        """Park the rows, and open the turns, or the first of them, in another session."""
        with tempfile.TemporaryDirectory() as folder:
            store = PrefixStore(folder)
            self.session._conversation._store = store
            self.session.park("owner")
            turns = self.session.turns[1 : 1 + max(1, len(self.session.turns) - number % 3)]
            self.session = Session(
                self.model,
                "be brief",
                turns=turns,
                image_tokens=70,
                hearing=self.mode,
                tokenizer=self.tokenizer,
                when_full=self.when_full,
                store=store,
            )
            assert self.session.unread >= 0  # the store is looked into now
        self.watch()
        self.given, self.written, self.marks = [], [], []

    def check(self) -> None:
        """All sound is there, and both caches are as fresh ones."""
        state = self.session._conversation.pending
        clips = [clip.frames for clip in state.sounds]
        assert_same_sound([*self.written, *clips, *pending_turn.cut(state.held, 30)], self.given)
        assert state.frames == sum(map(len, self.given))
        if state.is_empty:
            self.session.add_text("end")
        talk = self.session._conversation
        assert_as_fresh(self.model, talk.cache, talk.prompt())
        relay = talk.transcriber
        if state.relayed and len(state.live):
            turns = [Turn("user", (relay._instruction, SoundPart(state.live)))]
            assert_as_fresh(self.model, relay.cache, relay._prompt(turns, True))


def assert_same_sound(clips: list[np.ndarray], given: list[np.ndarray]) -> None:
    none = [np.zeros((0, 640), np.float32)]
    assert all(len(clip) <= 30 for clip in clips)
    assert np.array_equal(np.concatenate(none + clips), np.concatenate(none + given))


def assert_as_fresh(model: Gemma4, line: PrefixCache, new: PromptRows) -> None:
    """Feed the rest of a prompt, and compare logits and rows with one forward of all of it."""
    fed, prompt = finish(line.feed(new)), new.prompt
    fresh = model.make_cache()
    media = (prompt.images, prompt.videos, prompt.audio)
    expected = model.forward(prompt.token_ids, *media, cache=fresh)[:, -1]
    assert fed is not None
    assert np.abs(np.array(fed[0] - expected)).max() < BOUND
    assert len(line) == fresh.offset == len(prompt.token_ids)
    window = model.config.text_config.sliding_window - 1
    ours, theirs = line.tensors()[0], fresh.tensors()
    assert ours.keys() == theirs.keys()
    for name in ours:
        layer = fresh.layers[int(name.split(".")[0])]
        count = min(window, fresh.offset) if isinstance(layer, kv.SlidingCache) else fresh.offset
        rows = [np.array(tensors[name][:, :, -count:]) for tensors in (ours, theirs)]
        assert np.abs(rows[0] - rows[1]).max() < BOUND


STEPS = (
    "text", "picture", "sound", "hear", "hear", "hear", "hold", "reply", "barge", "asked",
    "mark", "mark", "rewind", "rewind", "discard", "idle", "save", "open", "park",
)  # fmt: skip


SCHEDULES = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), min_size=4, max_size=18)


@pytest.mark.parametrize("mode", ["direct", "relay", "auto"])
@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(steps=SCHEDULES, slack=st.sampled_from(SLACKS))
def test_after_any_schedule_the_caches_are_as_fresh_ones(
    model: Gemma4, mode: transcriber.HearingMode, steps: list[tuple[str, int]], slack: int
) -> None:
    use_slack(slack)
    talk = Talk(model, mode)
    for step, number in steps:
        talk.do(step, number)
    talk.check()


@pytest.fixture(scope="module")
def short(model: Gemma4) -> Gemma4:
    """The same model with a context of 260 rows."""
    text = replace(model.config.text_config, max_position_embeddings=260)
    short = Gemma4(replace(model.config, text_config=text))
    short.load_weights(list(model.tensors().items()))
    short.folder = model.folder
    return short


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(steps=SCHEDULES, slack=st.sampled_from(SLACKS))
def test_so_they_are_where_turns_are_dropped_and_what_does_not_fit_is_refused(
    short: Gemma4, steps: list[tuple[str, int]], slack: int
) -> None:
    use_slack(slack)
    talk = Talk(short, "direct", when_full="drop")
    for step, number in steps:
        given = list(talk.given)
        try:
            talk.do(step, number)
        except Gemma4Error as error:
            assert "context is full" in str(error) or "too long" in str(error)
            if step in ("hear", "hold"):
                talk.given = given
    try:
        talk.check()
    except Gemma4Error as error:
        assert "context is full" in str(error)
        talk.session.discard()
        talk.given = []
        talk.do("idle", 0)  # drops turns where too little room is left for a question
        talk.check()


def memory(model: Gemma4, session: Session, empty: SessionMark) -> int:
    """Bytes in use when the conversation is at its beginning again."""
    session.rewind(empty)
    session.notices()
    gc.collect()
    mx.synchronize()
    return mx.get_active_memory()


def test_memory_stays_flat_over_two_hundred_turns(model: Gemma4) -> None:
    rng = random.Random(7)
    use_slack(SLACKS[-1])
    talk = Talk(model, "auto")
    session = talk.session
    while session.idle():
        pass
    empty = session.mark()
    used: list[int] = []
    turns = 0
    steps = [step for step in STEPS if step not in ("save", "mark", "rewind", "open", "park")]
    while turns < 200:
        step = rng.choice(steps)
        answers = step in ("reply", "barge", "asked")
        talk.do(step, rng.randrange(6 if answers else 100))
        turns += answers
        if session.context[0] > 400:
            session.rewind(empty)
            talk.given, talk.written = [], []
            used.append(memory(model, session, empty))
    assert len(used) >= 8
    assert max(used[2:]) <= 1.02 * used[2]
    assert min(used[2:]) >= 0.98 * used[2]
