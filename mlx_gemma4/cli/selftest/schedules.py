"""Random schedules of a conversation: the caches must hold what one prefill of it all would hold.

Whatever is added, heard, answered, taken back, saved or parked in whatever order, on a small random
model, with buffers so small that every border is crossed again and again.
"""

import random
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from ... import load
from ...chat.messages import SoundPart
from ...chat.tokenizer import Tokenizer
from ...checkpoint.load import save_folder
from ...errors import Gemma4Error
from ...events import Done, Event, Heard
from ...generation.prefill_decode import Steps, finish
from ...hub import catalog
from ...media.audio import Frames
from ...model import cache as kv
from ...model.gemma4 import Gemma4
from ...session import conversation, pending_turn, prefix_cache, transcriber
from ...session.prefix_cache import PrefixCache
from ...session.prefix_store import PrefixStore
from ...session.rows import PromptRows
from ...session.session import Session, SessionMark
from ...testing.doubles import tiny_model
from ...testing.small_tokenizer import TINY_CONTROLS, small_backend

RNG = np.random.default_rng(4)
PICTURES = RNG.integers(0, 256, (3, 48, 96, 3)).astype(np.uint8)
VOICE = (RNG.standard_normal((400, 640)) * 0.1).astype(np.float32)
SAFE = 110
BOUND = 2e-3
TOKENS = 70  # of a picture
SLACKS = (5, 24)
"""Rows that can be dropped for free: with 5, going back often leads past them, to a mark."""

_slack = SLACKS[-1]


@contextmanager
def small_numbers(model: Gemma4) -> Iterator[None]:
    """Buffers, slack, clips and segments so small that every border is crossed again and again."""
    known = next(iter(catalog.packages().values()))
    package = replace(known, audio_safe_position=SAFE, transcribe="write")
    make_cache = Gemma4.make_cache
    # the model's vocabulary is larger than the tokenizer's, which keeps no reply of such ids
    words, every = (
        Tokenizer.from_folder(model.folder).vocab_size,
        model.config.text_config.vocab_size,
    )
    spelled = replace(model.config, suppress_tokens=tuple(range(words, every)))
    small = (
        (model, "config", spelled),
        (model, "package", package),
        (kv, "STEP", 16),
        (Gemma4, "make_cache", lambda self, kv_bits=None: make_cache(self, kv_bits, _slack)),
        (conversation, "CLIP", 30),
        (transcriber, "CLIP", 30),
        (transcriber, "_SPARE", 1),
        (pending_turn, "REACH", 12),
        (prefix_cache, "SEGMENT", 50),
        (prefix_cache, "_FEW", 10),
    )
    with ExitStack() as patches:
        for owner, name, value in small:
            patches.enter_context(mock.patch.object(owner, name, value))
        yield


def use_slack(slack: int) -> None:
    """Make further caches with this slack."""
    global _slack
    _slack = slack


class ScheduledTalk:
    """A session, beside a plain record of the sound that was added to it."""

    def __init__(
        self,
        model: Gemma4,
        mode: transcriber.HearingMode,
        when_full: conversation.WhenFull = "stop",
        template: str | None = None,
    ) -> None:
        self.model, self.mode = model, mode
        self.tokenizer = Tokenizer(Tokenizer.from_folder(model.folder)._backend, template)
        self.session = Session(
            model,
            "be brief",
            image_tokens=TOKENS,
            hearing=mode,
            tokenizer=self.tokenizer,
            when_full=when_full,
        )
        self.when_full: conversation.WhenFull = when_full
        self.spoken = 0  # frames of VOICE that were used up
        self.given: list[Frames] = []  # the clips of this turn before they are cut,
        self.written: list[Frames] = []  # and those that the relay has transcribed
        self.marks: list[tuple[SessionMark, list[Frames], list[Frames]]] = []
        self.watch()

    def watch(self) -> None:
        relay = self.session._conversation.transcriber
        transcribe = relay.transcribe

        def noted(clip: SoundPart) -> Steps[str]:
            expect(len(clip.frames) <= relay.limit, "a clip is too long to be transcribed")
            # else the sound stays in the conversation
            if self.session._conversation.pending.relayed:
                self.written.append(clip.frames)
            return (yield from transcribe(clip))

        relay.transcribe = noted  # type: ignore[method-assign]

    def voice(self, count: int) -> Frames:
        start = self.spoken % (len(VOICE) - count)
        self.spoken += count
        return VOICE[start : start + count]

    def do(self, step: str, number: int) -> None:
        """Take one of STEPS; `number` chooses its size, or which of several."""
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
        events: list[Event] = []
        for event in reply:
            events.append(event)
            if step == "barge" and number % 4 < len(events):
                reply.close()
        turn = self.session.turns[-2] if self.session.turns[-1].role == "model" else None
        if isinstance(events[-1], Done) and events[-1].reason != "silence" and turn:
            clips = [part.frames for part in turn.parts if isinstance(part, SoundPart)]
            same_sound(self.written + clips, self.given)
            wanted = (step == "asked" or bool(self.written)) and bool(self.given)
            heard = any(isinstance(event, Heard) for event in events)
            expect(heard == wanted, "what was heard is reported where it is asked for")
        if self.session._conversation.pending.is_empty:
            self.given, self.written = [], []

    def save(self, cache: bool) -> None:
        """Save it, and go on with what is restored."""
        with tempfile.TemporaryDirectory() as folder:
            self.session.save(folder, cache)
            held = len(self.session._conversation.cache)
            before = self.session
            self.session = Session.restore(
                self.model, folder, self.mode, tokenizer=self.tokenizer, when_full=self.when_full
            )
        self.watch()
        expect(self.session.context[0] == (held if cache else 0), "the rows are restored")
        expect(self.session.heard_seconds == before.heard_seconds, "the seconds are restored")
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
                image_tokens=TOKENS,
                hearing=self.mode,
                tokenizer=self.tokenizer,
                when_full=self.when_full,
                store=store,
            )
            expect(self.session.unread >= 0, "the store is looked into now")
        self.watch()
        self.given, self.written, self.marks = [], [], []

    def check(self) -> None:
        """Expect that all sound is there, and that both caches are as fresh ones."""
        state = self.session._conversation.pending
        clips = [clip.frames for clip in state.sounds]
        same_sound([*self.written, *clips, *pending_turn.cut(state.held, 30)], self.given)
        expect(state.frames == sum(map(len, self.given)), "frames are counted")
        if state.is_empty:
            self.session.add_text("end")
        talk = self.session._conversation
        as_fresh(self.model, talk.cache, talk.prompt())
        relay = talk.transcriber
        if state.relayed and len(state.live):
            prompt = relay._prompt(SoundPart(state.live), open_reply=True)
            as_fresh(self.model, relay.cache, prompt)


def expect(holds: object, what: str) -> None:
    """Raise AssertionError where it does not hold, also where Python leaves `assert` out."""
    if not holds:
        raise AssertionError(what)


def same_sound(clips: list[Frames], given: list[Frames]) -> None:
    """Expect all sound that was given, in clips that are not too long."""
    none = [np.zeros((0, 640), np.float32)]
    expect(all(len(clip) <= 30 for clip in clips), "no clip is too long")
    same = np.array_equal(np.concatenate(none + clips), np.concatenate(none + given))
    expect(same, "all sound is there, in order")


def as_fresh(model: Gemma4, line: PrefixCache, new: PromptRows) -> None:
    """Feed the rest of a prompt, and compare logits and rows with one forward of all of it."""
    fed, prompt = finish(line.feed(new)), new.prompt
    fresh = model.make_cache()
    media = (prompt.images, prompt.videos, prompt.audio)
    expected = model.forward(prompt.token_ids, *media, cache=fresh)[:, -1]
    expect(fed is not None and len(line) == fresh.offset == len(prompt.token_ids), "all is fed")
    assert fed is not None  # for the type checker
    logits = model.logits(fed[0])[:, -1]
    expect(np.abs(np.array(logits - expected)).max() < BOUND, "the logits are as fresh ones")
    window = model.config.text_config.sliding_window - 1
    ours, theirs = line.tensors()[0], fresh.tensors()
    expect(ours.keys() == theirs.keys(), "every layer has its rows")
    for name in ours:
        layer = fresh.layers[int(name.split(".")[0])]
        count = min(window, fresh.offset) if isinstance(layer, kv.SlidingCache) else fresh.offset
        rows = [np.array(tensors[name][:, :, -count:]) for tensors in (ours, theirs)]
        expect(np.abs(rows[0] - rows[1]).max() < BOUND, f"the rows {name} are as fresh ones")


STEPS = (
    "text", "picture", "sound", "hear", "hear", "hear", "hold", "reply", "barge", "asked",
    "mark", "mark", "rewind", "rewind", "discard", "idle", "save", "open", "park",
)  # fmt: skip
BACK_AND_FORTH = (
    "text", "hear", "hear", "idle", "mark", "mark", "rewind", "rewind", "rewind",
)  # fmt: skip
"""Steps that feed a little between marks."""
TAKEN_BACK = ("hear", "hear", "discard", "discard")
"""Steps that feed a little and drop it, about as far back as the smaller slack reaches."""
_FIRST = [("text", 98), ("reply", 38)]  # more rows than a window


@contextmanager
def world() -> Iterator[Gemma4]:
    """A model with random weights, and small buffers and clips."""
    with tempfile.TemporaryDirectory() as folder:
        save_folder(tiny_model(), folder)
        small_backend(TINY_CONTROLS).save(str(Path(folder) / "tokenizer.json"))
        model = load(folder)
        with small_numbers(model):
            yield model


def failure(model: Gemma4, seed: int) -> tuple[list[tuple[str, int]], str] | None:
    """Run the schedule of a seed: its steps so far and the error, or None if all is right."""
    rng = random.Random(seed)
    slack = rng.choice(SLACKS)
    modes: tuple[transcriber.HearingMode, ...] = ("direct", "relay", "auto")
    mode, names = rng.choice(modes), rng.choice((STEPS, STEPS, BACK_AND_FORTH, TAKEN_BACK))
    use_slack(SLACKS[0] if names is TAKEN_BACK else slack)
    talk = ScheduledTalk(model, mode)
    steps: list[tuple[str, int]] = []
    drawn = [(rng.choice(names), rng.randrange(100)) for _ in range(rng.randint(4, 18))]
    try:
        for step in [*(_FIRST if names is TAKEN_BACK else ()), *drawn]:
            steps.append(step)
            talk.do(*step)
        talk.check()
    except (AssertionError, Gemma4Error, ValueError):
        return steps, traceback.format_exc(limit=-2)
    return None
