"""Whatever happens in whatever order: the caches hold what one prefill of it all would hold."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.cli.selftest.schedules import SLACKS, STEPS, ScheduledTalk, small_numbers, use_slack
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import transcriber
from mlx_gemma4.session.session import Session, SessionMark
from tests.configs import with_context

TEMPLATE = Path(__file__).parents[1] / "fixtures" / "gemma4_chat_template.jinja"
EXAMPLES = 60
"""Schedules in all, of which a quarter for each test; tools/schedules.py runs more."""


@pytest.fixture(autouse=True, scope="module")
def _small_numbers(model: Gemma4) -> Iterator[None]:
    with small_numbers(model):
        yield


def talk_of(model: Gemma4, mode: transcriber.HearingMode) -> ScheduledTalk:
    """A talk; in mode auto with the published template, which opens a reply with what is not in
    the history afterwards."""
    return ScheduledTalk(model, mode, template=TEMPLATE.read_text() if mode == "auto" else None)


SCHEDULES = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), min_size=4, max_size=18)


@pytest.mark.parametrize("mode", ["direct", "relay", "auto"])
@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(steps=SCHEDULES, slack=st.sampled_from(SLACKS))
def test_after_any_schedule_the_caches_are_as_fresh_ones(
    model: Gemma4, mode: transcriber.HearingMode, steps: list[tuple[str, int]], slack: int
) -> None:
    use_slack(slack)
    talk = talk_of(model, mode)
    for step, number in steps:
        talk.do(step, number)
    talk.check()


@pytest.fixture(scope="module")
def short(model: Gemma4) -> Gemma4:
    """The same model with a context of 260 rows."""
    short = Gemma4(with_context(model.config, 260))
    short.load_weights(list(model.tensors().items()))
    short.folder = model.folder
    return short


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(steps=SCHEDULES, slack=st.sampled_from(SLACKS))
def test_so_they_are_where_turns_are_dropped_and_what_does_not_fit_is_refused(
    short: Gemma4, steps: list[tuple[str, int]], slack: int
) -> None:
    use_slack(slack)
    talk = ScheduledTalk(short, "direct", when_full="drop")
    for step, number in steps:
        given = list(talk.given)
        try:
            talk.do(step, number)
        except Gemma4Error as error:
            assert error.code == "context_full"
            if step in ("hear", "hold"):
                talk.given = given
    try:
        talk.check()
    except Gemma4Error as error:
        assert error.code == "context_full"
        talk.session.discard()
        talk.given = []
        talk.do("idle", 0)  # drops turns where too little room is left for a question
        talk.check()


def memory(model: Gemma4, session: Session, empty: SessionMark) -> int:
    """Bytes in use when the conversation is at its start again."""
    session.rewind(empty)
    session.notices()
    gc.collect()
    mx.synchronize()
    return mx.get_active_memory()


@pytest.mark.parametrize("many", [60, pytest.param(200, marks=pytest.mark.long)])
def test_memory_stays_flat_over_many_turns(model: Gemma4, many: int) -> None:
    rng = random.Random(7)
    use_slack(SLACKS[-1])
    talk = talk_of(model, "auto")
    session = talk.session
    while session.idle():
        pass
    empty = session.mark()
    used: list[int] = []
    turns = 0
    steps = [step for step in STEPS if step not in ("save", "mark", "rewind", "open", "park")]
    while turns < many:
        step = rng.choice(steps)
        answers = step in ("reply", "barge", "asked")
        talk.do(step, rng.randrange(6 if answers else 100))
        turns += answers
        if session.context[0] > 400:
            session.rewind(empty)
            talk.given, talk.written = [], []
            used.append(memory(model, session, empty))
    assert len(used) >= many // 25 + 2
    assert max(used[2:]) <= 1.02 * used[2]
    assert min(used[2:]) >= 0.98 * used[2]
