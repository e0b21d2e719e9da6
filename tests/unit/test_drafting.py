"""Who proposes in a conversation, with a clock of the test's own and no model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_gemma4.generation.drafting import Drafting
from mlx_gemma4.generation.speculate import Place


class Talk:
    """A conversation whose replies are known; a forward takes 1 second and `row` for each row."""

    def __init__(self, row: float = 0.2, load: float = 1.0) -> None:
        self.row, self.load, self.now = row, load, 0.0
        self.model: Any = SimpleNamespace(policies={}, drafter=None)

    def reply(self, before: list[int | str], ids: list[int]) -> float:
        """Draw a reply by lookup; ids a forward."""
        drafting = Drafting(self.model, "lookup", lambda: self.now)
        drafting.begin(before)
        at, known, under_way = 0, None, 0.0
        while at < len(ids):
            place = Place(mx.array([ids[at]]), mx.zeros(1), known)
            drafts = drafting.propose(place, None, len(ids))  # type: ignore[arg-type]
            self.now += under_way
            if drafts is None:
                under_way, took, known = self.load, 1, None
                drafting.observe(ids[at : at + 1], 0)
            else:
                proposed, rest = np.array(drafts).tolist(), ids[at + 1 :]
                pairs = list(zip(proposed, rest, strict=False))
                took = 1 + next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
                self.now += self.load * (1 + self.row * len(proposed))
                under_way, known = 0.0, (ids + [0])[at + took]
                drafting.observe(ids[at : at + took], len(proposed))
            at += took
        return len(ids) / drafting.stats["target_forwards"]


TEXT = [int(i) for i in range(100, 160)]
ASKED: list[int | str] = [7, 8, 9, 10, 11, 12]


def test_what_was_written_once_is_followed_when_it_is_asked_again() -> None:
    for load in (1.0, 3.0):  # another program, after the first reading
        talk = Talk()
        picture: list[int | str] = ["first"] * 20
        talk.reply([*picture, *ASKED], TEXT)
        talk.load = load
        assert talk.reply([*picture, *ASKED, *TEXT, *picture, *ASKED], TEXT) >= 4


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
    drafting.begin([*first, *ASKED, *TEXT, *other, *ASKED])
    assert drafting._looked_up(Place(mx.zeros(1), mx.zeros(1)), 6)[1] == "lookup"
    drafting.begin([*first, *ASKED, *TEXT, *first, *ASKED])
    assert drafting._looked_up(Place(mx.zeros(1), mx.zeros(1)), 6)[1] == "repetition"
