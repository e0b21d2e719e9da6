"""Who proposes in a conversation, with a clock of the test's own and no model."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.generation.drafting import Drafting
from mlx_gemma4.generation.speculate import Place


class Talk:
    """A conversation whose replies are known; a forward takes 1 second and `row` for each row.

    It goes on while the id before is handled, or where not `ahead` starting it takes all its time.
    """

    def __init__(self, row: float = 0.2, load: float = 1.0, ahead: bool = True) -> None:
        self.ahead = ahead
        self.row, self.load, self.now, self.under_way = row, load, 0.0, 0.0
        self.model: Any = SimpleNamespace(policies={}, drafter=None)

    def reply(self, before: list[int | str], ids: list[int]) -> float:
        """Draw a reply by lookup; ids a forward."""
        drafting = Drafting(self.model, "lookup", lambda: self.now)
        drafting.start(before)
        at, known, self.under_way = 0, None, 0.0
        while at < len(ids):
            following: Any = SimpleNamespace(item=partial(self.waited, ids[at]))
            place = Place(following, mx.zeros(1), known)
            drafts = drafting.propose(place, None, len(ids))  # type: ignore[arg-type]
            self.waited(0)
            if drafts is None:
                self.under_way, took, known = self.load, 1, None
                if not self.ahead:
                    self.waited(0)
                drafting.observe(ids[at : at + 1], 0)
            else:
                proposed, rest = np.array(drafts).tolist(), ids[at + 1 :]
                pairs = list(zip(proposed, rest, strict=False))
                took = 1 + next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
                self.now += self.load * (1 + self.row * len(proposed))
                known = (ids + [0])[at + took]
                drafting.observe(ids[at : at + took], len(proposed))
            at += took
        return len(ids) / drafting.stats["target_forwards"]

    def waited(self, following: int) -> int:
        """Wait for the forward that is under way, if one is, and return the id that it draws."""
        self.now, self.under_way = self.now + self.under_way, 0.0
        return following


TEXT = [int(i) for i in range(100, 160)]
ASKED: list[int | str] = [7, 8, 9, 10, 11, 12]


def test_what_was_written_once_is_followed_when_it_is_asked_again() -> None:
    for load in (1.0, 3.0):  # another program, after the first reading
        talk = Talk()
        picture: list[int | str] = ["first"] * 20
        talk.reply([*picture, *ASKED], TEXT)
        talk.load = load
        assert talk.reply([*picture, *ASKED, *TEXT, *picture, *ASKED], TEXT) >= 4


@pytest.mark.parametrize("ahead", [True, False])
def test_the_time_of_proposals_is_without_that_of_the_forward_under_way(ahead: bool) -> None:
    talk = Talk(ahead=ahead)
    for number in range(8):  # now and then three ids are as before
        talk.reply([*range(30, 90)], [33, 34, 35, 36, 1000 + number, 52, 53, 54, *TEXT[:12]])
    record = next(iter(talk.model.policies.values())).sources["lookup"]
    times = {count: times for count, times in record._seconds.items() if times}
    assert times
    for count, taken in times.items():
        assert list(taken) == pytest.approx([1 + talk.row * count] * len(taken))


def test_a_repetition_is_followed_soon_after_others_led_nowhere() -> None:
    talk = Talk()
    long: list[int | str] = [*range(30, 60)]
    for number in range(12):  # the same question, and each time another answer
        other = [int(1000 + 50 * number + n) for n in range(20)]
        talk.reply([*long, *range(500, 520), *long], other)
    sources = next(iter(talk.model.policies.values())).sources
    assert sources["repetition"].accepted[0] < 0.3
    assert talk.reply([*long, *TEXT, *long], TEXT) >= 3


def test_the_same_question_about_another_picture_is_no_repetition() -> None:
    talk = Talk()
    first, other = ["first"] * 20, ["other"] * 20
    drafting = Drafting(talk.model, "lookup", lambda: 0.0)
    drafting.start([*first, *ASKED, *TEXT, *other, *ASKED])
    assert drafting._looked_up(Place(mx.zeros(1), mx.zeros(1)), 6)[1] == "lookup"
    drafting.start([*first, *ASKED, *TEXT, *first, *ASKED])
    assert drafting._looked_up(Place(mx.zeros(1), mx.zeros(1)), 6)[1] == "repetition"
