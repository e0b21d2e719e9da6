"""Which lines each step learns from."""

from collections import Counter
from itertools import chain

import pytest

from mlx_gemma4.tune.schedule import TuneSettings, batches, rate_at, usual_rate


def picks(settings: TuneSettings, data: int, replay: int = 0) -> Counter[tuple[str, int]]:
    return Counter(chain.from_iterable(batches(settings, [10] * data, [10] * replay)))


def test_a_pass_has_every_line_once() -> None:
    counts = picks(TuneSettings(1e-3, epochs=1), 37)
    assert counts == {("data", number): 1 for number in range(37)}


def test_a_small_set_is_passed_through_until_600_conversations_were_seen() -> None:
    assert picks(TuneSettings(1e-3), 50).total() == 600
    assert picks(TuneSettings(1e-3), 1000).total() == 1000


def test_replay_is_mixed_in_by_its_share() -> None:
    counts = picks(TuneSettings(1e-3, epochs=1, replay_share=0.3), 70, 11)
    replayed = sum(count for (kind, _), count in counts.items() if kind == "replay")
    assert replayed in (29, 30)
    assert {number for kind, number in counts if kind == "replay"} == set(range(11))


def test_steps_have_so_many_conversations_or_tokens() -> None:
    assert [len(one) for one in batches(TuneSettings(1e-3, steps=3, batch=5), [10] * 7, [])] == [
        5
    ] * 3
    lengths = [30, 50, 20, 90, 10, 40]
    for batch in batches(TuneSettings(1e-3, steps=9, batch_tokens=100), lengths, []):
        assert len(batch) == 1 or sum(lengths[number] for _, number in batch) <= 100


def test_a_seed_gives_one_order_and_each_pass_its_own() -> None:
    settings = TuneSettings(1e-3, epochs=2, batch=20)
    assert batches(settings, [1] * 20, []) == batches(settings, [1] * 20, [])
    first, second = batches(settings, [1] * 20, [])
    assert first != second
    assert batches(TuneSettings(1e-3, epochs=2, batch=20, seed=1), [1] * 20, [])[0] != first


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(TuneSettings(1.0), step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.06
    assert usual_rate(192) == 5e-4
