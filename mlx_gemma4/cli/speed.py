"""Measures this machine: prefill, decode, and how soon an answer starts after what was added.

Everything goes through `Session`, as in a conversation. Nothing depends on what a model answers: it
reads random words, noise and pictures of noise, draws the likeliest id, and may not end its answer.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import mlx.core as mx
import numpy as np
from PIL import Image

from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..evaluate import surroundings
from ..evaluate.models import OurModel
from ..events import Done
from ..media.audio import FRAME, RATE, Frames
from ..model.gemma4 import Gemma4
from ..runtime.pace import FRAME_SECONDS, SHORTEST
from ..session.session import Session
from .speed_result import LIVE, MEMORY, SPEED, WAIT, Figure, Result, around

CONTEXTS = (512, 2048, 8192)
BUDGETS = (70, 140, 280, 560, 1120)  # tokens that a picture may take (model card)
SECONDS = (5, 30)  # of sound; 30 is the longest that the model was made for (model card)
PICTURE = (1512, 982)  # pixels: the screen of a 14-inch MacBook Pro, which fills every budget
QUESTION = 32  # tokens of a question
DECODED = 64  # tokens of the answer whose speed is measured
_WARM = 125  # rows of what is added to warm up: one of each kind
_TEMPLATE = 16  # tokens that a turn takes besides its words
_SPARE = DECODED + QUESTION + 2 * _TEMPLATE  # tokens of context that a round needs besides

Progress = Callable[[str, int, int], None]
"""Called with what comes next, how many steps are done, and how many there are."""


@dataclass(frozen=True)
class Given:
    """What is added at once, and takes so many rows of the context."""

    name: str
    rows: int
    add: Callable[[Session], object]


@dataclass(frozen=True, eq=False)
class Spoken:
    """What is spoken, and heard meanwhile: frames (n, 640)."""

    name: str
    frames: Frames

    @property
    def rows(self) -> int:
        return len(self.frames)


def bench(
    subject: OurModel,
    contexts: Sequence[int] = (),
    rounds: int = 3,
    kv_bits: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Measure a model, after some turns at the shortest context that are not counted.

    Each round takes every context, and at each adds everything once, so that a machine that gets
    slower slows all figures alike.

    Args:
        contexts: tokens before a question; none for those of CONTEXTS that the model has, and for
            the first alone where it is the demonstration model, of which nobody needs more.
        kv_bits: 8 or 4 to quantize the full layers' rows.

    Raises:
        Gemma4Error: a setting is out of range, or the model cannot be loaded.
    """
    model, tokenizer = subject.model, subject.tokenizer
    chosen = _contexts(contexts, subject)
    never_end(model, tokenizer)
    known = givens(tokenizer, subject.takes)
    longest = model.config.text_config.max_position_embeddings
    steps = [(0, chosen[0]), *((number, c) for number in range(1, rounds + 1) for c in chosen)]
    before = around(model)
    figures: dict[tuple[str, int], Figure] = {}
    for done, (number, context) in enumerate(steps):
        fitting = [given for given in known if context + given.rows + _SPARE <= longest]
        if not number:
            fitting = [given for given in fitting if given.rows <= _WARM]
        what = f"round {number} of {rounds}, {context:,} tokens" if number else "warming up"
        progress(what, done, len(steps))
        for name, unit, value in measure(model, tokenizer, context, fitting, kv_bits):
            progress(f"{what}, {name} measured", done, len(steps))
            if number:
                figure = figures.setdefault((name, context), Figure(name, context, unit, []))
                figure.values.append(value)
    progress("", len(steps), len(steps))
    return Result(
        subject.name,
        subject.package.name if subject.package else "",
        subject.recipe,
        subject.revision,
        dict(subject.versions),
        {**before, "process's peak, GB": surroundings.peak_memory() / 1e9},
        {
            "kv_bits": kv_bits,
            "sampling": "greedy",
            "hearing": "direct",
            "question_tokens": QUESTION,
            "decoded_tokens": DECODED,
            "picture": list(PICTURE),
            "frames_a_chunk": SHORTEST,
        },
        rounds,
        list(figures.values()),
    )


def measure(
    model: Gemma4,
    tokenizer: Tokenizer,
    context: int,
    known: Sequence[Given | Spoken],
    kv_bits: int | None = None,
) -> Iterator[tuple[str, str, float]]:
    """Read a context, answer, then add each thing; yield (name, unit, value) of each figure."""
    gc.collect()  # the conversation before this must not count
    mx.clear_cache()
    mx.reset_peak_memory()
    session = Session(model, hearing="direct", kv_bits=kv_bits, tokenizer=tokenizer)
    session.add_text(words(tokenizer, context - _TEMPLATE))
    stats = _answer(session, DECODED)
    yield "prefill", SPEED, stats["prompt_tokens_per_second"]
    yield "decode", SPEED, stats["tokens_per_second"]
    while session.idle():
        pass  # as an engine does while nobody asks anything
    place = session.mark()
    chunks: list[float] = []
    for given in known:
        if isinstance(given, Given):
            yield given.name, WAIT, first_token(session, given.add)
        else:
            chunks, rest = spoken(session, given.frames)
            yield given.name, WAIT, first_token(session, partial(Session.hold, frames=rest))
        session.rewind(place)
    if chunks:  # of the longest sound; the first also reads the start of the turn
        took = statistics.median(chunks[1:])
        yield "live hearing", LIVE, SHORTEST * FRAME_SECONDS / took
    yield "memory peak", MEMORY, mx.get_peak_memory() / 1e9


def givens(tokenizer: Tokenizer, takes: frozenset[str]) -> list[Given | Spoken]:
    """List what is added for a model that takes these of "text", "image" and "sound"."""
    question = words(tokenizer, QUESTION, seed=1)
    known: list[Given | Spoken] = [Given("after text", 0, partial(Session.add_text, text=question))]
    if "image" in takes:
        pixels = np.random.default_rng(0).integers(0, 256, (*PICTURE[::-1], 3), np.uint8)
        show = partial(_show, Image.fromarray(pixels), question)
        known += [
            Given(f"after a picture, {n} tokens", n, partial(show, budget=n)) for n in BUDGETS
        ]
    if "sound" in takes:
        sounds = {seconds: noise(seconds * RATE // FRAME) for seconds in SECONDS}
        for seconds, frames in sounds.items():
            add = partial(Session.add_audio, samples=frames.ravel(), rate=RATE)
            known.append(Given(f"after {seconds} s of sound", len(frames), add))
        known += [Spoken(f"after {n} s of live sound", frames) for n, frames in sounds.items()]
    return known


def first_token(session: Session, add: Callable[[Session], object]) -> float:
    """Add something and ask for an answer: the seconds until its first token."""
    started = time.perf_counter()
    add(session)
    given = time.perf_counter() - started
    return given + _answer(session, 1)["seconds_to_first_token"]


def spoken(session: Session, frames: Frames) -> tuple[list[float], Frames]:
    """Let a session hear frames in chunks, as an engine does while somebody speaks.

    The first chunk is the remainder, and a last whole one is left, as at the worst end of speech.
    Nobody waits for the clock: the seconds are work, not waiting.

    Returns:
        The seconds of each chunk, and the frames that are left.
    """
    chunks, first = [], 1 + (len(frames) - 1) % SHORTEST
    *heard, rest = np.split(frames, range(first, len(frames), SHORTEST))
    for chunk in heard:
        started = time.perf_counter()
        session.hear(chunk)
        chunks.append(time.perf_counter() - started)
    return chunks, rest


def noise(frames: int) -> Frames:
    """(frames, 640) samples of noise, always the same."""
    return 0.1 * np.random.default_rng(0).standard_normal((frames, FRAME), np.float32)


def words(tokenizer: Tokenizer, tokens: int, seed: int = 0) -> str:
    """Random words of a vocabulary that take about so many tokens."""
    generator = random.Random(seed)
    known: list[str] = []
    while len(known) < 256:
        word = tokenizer.decode([generator.randrange(tokenizer.vocab_size)]).strip()
        if word.isascii() and word.isalpha():
            known.append(word)
    text = " ".join(generator.choices(known, k=tokens))
    return tokenizer.decode(tokenizer.encode(text)[:tokens])


def never_end(model: Gemma4, tokenizer: Tokenizer) -> None:
    """Let a model draw no control token: it neither ends an answer nor thinks."""
    config = model.config
    media = (config.image_token_id, config.audio_token_id, config.video_token_id)
    never = {*config.suppress_tokens, *config.eos_token_ids, *media, *tokenizer.controls.values()}
    model.config = replace(config, suppress_tokens=tuple(sorted(never)))


def _answer(session: Session, tokens: int) -> Mapping[str, float]:
    *_, done = session.reply(tokens, temperature=0.0)
    assert isinstance(done, Done), "a reply ends with Done"
    return done.stats


def _show(picture: Image.Image, question: str, session: Session, budget: int) -> None:
    session.add_image(picture, budget)
    session.add_text(question)


def _contexts(wanted: Sequence[int], subject: OurModel) -> list[int]:
    longest = subject.model.config.text_config.max_position_embeddings
    least, most = 2 * _TEMPLATE, longest - _SPARE
    for context in wanted:
        if not least <= context <= most:
            raise Gemma4Error(
                "setting_out_of_range",
                "The context is out of range",
                f"{context:,} tokens cannot be measured: this model has {longest:,}, of which "
                f"{_SPARE} are needed for questions and answers.",
                f"Choose {least} to {most:,}.",
            )
    usual = CONTEXTS[:1] if subject.is_tiny else CONTEXTS
    return sorted({*wanted}) or [n for n in usual if n <= most] or [most]
