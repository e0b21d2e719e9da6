"""Speculation draws what plain decoding draws, whoever proposes, and leaves the same cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.generation.drafting import Drafting
from mlx_gemma4.generation.prefill_decode import decode, finish, prefill
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.generation.speculate import Place
from mlx_gemma4.media.audio import frames
from mlx_gemma4.model import cache as kv
from mlx_gemma4.model.cache import Cache
from mlx_gemma4.model.config import Config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.testing.doubles import tiny_model, tones
from tests.configs import with_context
from tests.unit.drafters import tiny_drafter

IDS = np.random.default_rng(0).integers(20, 500, 40)
WINDOW = 32


@pytest.fixture(scope="module")
def model() -> Gemma4:
    model = tiny_model()
    model.attach(tiny_drafter(model.config))
    return model


class Cheat:
    """Knows the reply, and proposes each of its ids with a chance, else another."""

    def __init__(self, reply: Sequence[int], chance: float, count: int) -> None:
        self.reply, self.chance, self.count = list(reply), chance, count
        self.given = 0
        self.accepted: list[int] = []
        self.rng = np.random.default_rng(1)

    def propose(self, place: Place, cache: Cache, most: int) -> mx.array | None:
        true = self.reply[self.given + 1 :][: min(self.count, most)]
        right = self.rng.random(len(true)) < self.chance
        return mx.array(np.where(right, true, np.array(true) ^ 1)) if true else None

    def observe(self, ids: Sequence[int], drafted: int) -> None:
        self.given += len(ids)
        self.accepted.append(len(ids) - 1)


def start(model: Gemma4, kv_bits: int | None = None, media: str = "") -> tuple[mx.array, Cache]:
    cache = model.make_cache(kv_bits)
    ids, given = IDS.tolist(), {}
    if media == "picture":
        patches = np.random.default_rng(2).random((12, 6912), np.float32)
        places = np.stack(np.divmod(np.arange(12), 4)[::-1], axis=1)
        ids, given = [6, *[8] * 12, 7, *ids], {"images": [(patches, places)]}
    if media == "sound":
        sound = frames(tones([440], 0.4))
        ids, given = [9, *[11] * len(sound), 10, *ids], {"audio": [sound]}
    hidden = finish(prefill(model, model.embed(ids, **given), cache, 16))
    assert hidden is not None
    return hidden, cache


def drawn(
    model: Gemma4, temperature: float, proposer: object, limit: int, **what: object
) -> tuple[list[int], Cache, Sampler]:
    hidden, cache = start(model, **what)  # type: ignore[arg-type]
    sampler = Sampler(temperature, 64, 0.95, seed=5)
    ids = list(decode(model, hidden, cache, sampler, (), limit, None, proposer))  # type: ignore[arg-type]
    return ids, cache, sampler


def two_more(model: Gemma4, cache: Cache, sampler: Sampler, last: int) -> tuple[np.ndarray, int]:
    """Logits after the last id and another, and what is drawn from them."""
    logits = model.logits(model.hidden(model.embed([last, 33]), cache))[0]
    return np.array(logits), int(sampler(logits[-1:]).item())


def far(kv_bits: int | None, temperature: int, tokens: int) -> Any:
    """Few tokens are past the window of 32 too; more of them take minutes."""
    marks = [pytest.mark.long] * (tokens > 60)
    return pytest.param(kv_bits, temperature, tokens, marks=marks)


@pytest.mark.parametrize(
    ("kv_bits", "temperature", "tokens"),
    [
        *(far(bits, heat, 400) for bits in (None, 8, 4) for heat in (0, 1)),
        *(far(bits, heat, 60) for bits, heat in ((None, 1), (8, 0), (4, 1))),
    ],
)
def test_ids_far_past_the_window_are_those_of_plain_decoding(
    model: Gemma4, kv_bits: int | None, temperature: float, tokens: int
) -> None:
    plain, cache, sampler = drawn(model, temperature, None, tokens, kv_bits=kv_bits)
    expected = two_more(model, cache, sampler, plain[-1])
    # random weights propose nothing that is accepted: a forward an id, so fewer of them
    runs: list[tuple[Any, int]] = [(Drafting(model, count), 20) for count in (1, 3, 8)]
    runs += [(Drafting(model, draft), tokens) for draft in ("lookup", "auto")]
    for one, _ in runs:
        one.start(IDS.tolist())
    cheats = Cheat(plain, 0.9, 3), Cheat(plain, 0.5, 8)
    for proposer, limit in [*runs, *((cheat, tokens) for cheat in cheats)]:
        ids, held, later = drawn(model, temperature, proposer, limit, kv_bits=kv_bits)
        assert ids == plain[:limit]
        if limit == tokens:
            found = two_more(model, held, later, ids[-1])
            assert np.abs(found[0] - expected[0]).max() < 2e-3
            assert found[1] == expected[1]  # its keys are where plain decoding leaves them
    assert np.mean(cheats[0].accepted) > 1.6  # .9 + .81 + .73 of three
    assert 0.5 < np.mean(cheats[1].accepted) < 1.6  # .5 + .25 + .125 ... of eight


@pytest.mark.parametrize("media", ["picture", "sound"])
def test_replies_after_a_picture_or_a_sound_are_those_of_plain_decoding(
    model: Gemma4, media: str
) -> None:
    plain, _, _ = drawn(model, 1, None, 40, media=media)
    for count in (1, 3, 8):
        assert drawn(model, 1, Drafting(model, count), 20, media=media)[0] == plain[:20]
        assert drawn(model, 1, Cheat(plain, 0.8, count), 40, media=media)[0] == plain


def test_suppressed_ids_are_neither_proposed_nor_drawn(model: Gemma4) -> None:
    hidden, cache = start(model)
    usual = model.drafter.draft(model, cache, mx.array([40]), hidden, 6).tolist()
    before = model.config
    model.config = replace(before, suppress_tokens=(usual[0], usual[3]))
    try:
        hidden, cache = start(model)
        found = model.drafter.draft(model, cache, mx.array([40]), hidden, 6).tolist()
    finally:
        model.config = before
    assert not {usual[0], usual[3]} & set(found)


def with_room(model: Gemma4, rows: int) -> Config:
    """The model's config with a context of the prompt and so many rows."""
    return with_context(model.config, len(IDS) + rows)


def held_after(model: Gemma4, ids: Sequence[int]) -> np.ndarray:
    """Logits of a fixed next id after the prompt and these, fed plainly."""
    return np.array(model.forward([*IDS.tolist(), *ids, 33])[0, -1])


@pytest.mark.parametrize("place", [1, 2, 5, 7, 8, 10, 12])
def test_a_reply_that_stops_anywhere_for_any_reason_holds_what_was_given(
    model: Gemma4, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eight proposals that are all accepted, places 1 to 13 are inside the first runs."""
    plain, _, _ = drawn(model, 1, None, 30)
    assert plain.index(plain[place - 1]) == place - 1  # the id that ends comes there first

    def run(stop: Callable[[], bool] | None = None, **given: object) -> tuple[list[int], Cache]:
        hidden, cache = start(model)
        ends, limit = given.get("ends", ()), given.get("limit", 30)
        if given.get("full"):
            monkeypatch.setattr(model, "config", with_room(model, place - 1))
        cheat = Cheat(plain, 1.0, 8)
        steps = decode(model, hidden, cache, Sampler(1, 64, 0.95, seed=5), ends, limit, stop, cheat)  # type: ignore[arg-type]
        ids = [next(steps) for _ in range(place)] if given.get("close") else list(steps)
        steps.close()
        monkeypatch.undo()
        return ids, cache

    asked = iter(range(100))
    ways = {
        "closed": run(close=True),
        "cancelled": run(lambda: next(asked) == place),
        "ended": run(ends=(plain[place - 1],)),
        "limited": run(limit=place),
        "full": run(limit=place, full=True),
    }
    for way, (ids, cache) in ways.items():
        assert ids == plain[:place], way
        left_out = len(IDS) + place - cache.offset
        assert left_out in (0, 1) if way in ("limited", "ended", "full") else left_out == 0, way
        after = model.forward([*plain[place - left_out : place], 33], cache=cache)[0, -1]
        assert np.abs(np.array(after) - held_after(model, plain[:place])).max() < 2e-3, way


def test_what_is_accepted_after_the_end_of_a_reply_counts_for_nothing(model: Gemma4) -> None:
    plain, _, _ = drawn(model, 1, None, 30)
    hidden, cache = start(model)
    cheat, ends = Cheat(plain, 1.0, 8), (plain[4],)
    sampler = Sampler(1, 64, 0.95, seed=5)
    assert list(decode(model, hidden, cache, sampler, ends, 30, None, cheat)) == plain[:5]
    assert cheat.given == 5


def test_rejections_across_a_move_of_the_buffers_lose_nothing(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "STEP", 8)  # a buffer is full after a few rows
    plain, _, _ = drawn(model, 1, None, 120)
    cheat = Cheat(plain, 0.5, 5)
    hidden, _ = start(model)
    cache = model.make_cache(slack=5)  # exactly what the proposals may use up
    hidden = finish(prefill(model, model.embed(IDS), cache, 16))
    assert hidden is not None
    starts = set()

    class Watched(Cheat):
        def observe(self, ids: Sequence[int], drafted: int) -> None:
            super().observe(ids, drafted)
            starts.add(cache.layers[0].rows.start)

    cheat = Watched(plain, 0.5, 5)
    assert (
        list(decode(model, hidden, cache, Sampler(1, 64, 0.95, seed=5), (), 120, None, cheat))
        == plain
    )
    assert len(starts) > 5
    assert 0 in cheat.accepted and 5 in cheat.accepted


def test_more_proposals_than_the_slack_are_refused(model: Gemma4) -> None:
    cache = model.make_cache(slack=5)
    hidden = finish(prefill(model, model.embed(IDS), cache, 16))
    assert hidden is not None
    steps = decode(
        model, hidden, cache, Sampler(1, 64, 0.95, seed=5), (), 50, None, Drafting(model, 6)
    )
    with pytest.raises(Gemma4Error, match="proposed"):
        list(steps)
    with pytest.raises(Gemma4Error) as error:
        Drafting(model, 257)
    assert error.value.code == "setting_unknown"


def test_no_buffer_is_copied_for_a_rejection_while_a_mark_lies_behind_or_ahead(
    model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = []
    moved = kv.Rows.moved

    def counted(rows: kv.Rows, *given: object) -> kv.Rows:
        moves.append(rows)
        return moved(rows, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(kv.Rows, "moved", counted)
    plain, _, _ = drawn(model, 1, None, 60)
    hidden, cache = start(model)
    behind = cache.mark()
    model.hidden(model.embed([50, 51, 52]), cache)
    ahead = cache.mark()
    cache.rewind(behind)
    moves.clear()
    cheat = Cheat(plain, 0.5, 4)
    assert (
        list(decode(model, hidden, cache, Sampler(1, 64, 0.95, seed=5), (), 60, None, cheat))
        == plain
    )
    assert cheat.accepted.count(0) > 5
    # once each layer moves off the buffers of the mark ahead, and no more than plain decoding does
    assert len(moves) == len(cache.layers)
    assert ahead.offset == len(IDS) + 3


def test_the_context_may_be_filled_to_its_last_row(model: Gemma4) -> None:
    before = model.config
    room = 20
    plain, _, _ = drawn(model, 1, None, room)
    model.config = with_room(model, room - 1)
    try:
        ids, cache, _ = drawn(model, 1, Cheat(plain, 1.0, 8), room)
    finally:
        model.config = before
    assert ids == plain
    assert cache.offset == len(IDS) + room - 1


def test_a_forward_counts_once_and_proposals_as_they_were_accepted(model: Gemma4) -> None:
    drafting = Drafting(model, 3)
    ids, _, _ = drawn(model, 1, drafting, 40)
    stats = drafting.stats
    # each forward draws an id besides those accepted; the last id of a limit is never fed
    assert stats["target_forwards"] + stats["accepted"] == len(ids) - 1
    assert stats["accepted"] <= stats["drafted"] <= 3 * stats["target_forwards"]


def test_drafts_need_a_drafter() -> None:
    model = tiny_model()
    with pytest.raises(Gemma4Error) as error:
        Drafting(model, 4)
    assert error.value.code == "drafter_missing"
    with pytest.raises(Gemma4Error, match="draft"):
        Drafting(model, "always")  # type: ignore[arg-type]


def test_draws_of_several_rows_are_those_of_one_after_another() -> None:
    logits = mx.array(np.random.default_rng(3).normal(size=(6, 50)).astype(np.float32) * 2)
    for settings in ((0.0, 0, 1.0), (1.0, 0, 1.0), (0.8, 7, 1.0), (1.3, 20, 0.8)):
        one, many = Sampler(*settings, seed=9), Sampler(*settings, seed=9)
        expected = [int(one(row[None]).item()) for row in logits]
        draws = many.ahead(logits)
        assert draws.ids.tolist() == expected
        many.keep(draws, 2)
        assert int(many(logits[2:3]).item()) == expected[2]
    assert len(set(pairwise(expected))) > 1
