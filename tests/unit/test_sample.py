from collections import Counter

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.generation.sampler import Sampler


def row(*logits: float) -> mx.array:
    return mx.array([logits])


def drawn(sampler: Sampler, logits: mx.array, times: int = 300) -> Counter[int]:
    return Counter(sampler(logits).item() for _ in range(times))


def test_temperature_zero_takes_the_most_likely_id() -> None:
    assert drawn(Sampler(temperature=0), row(0.1, 0.3, 0.2), 5) == {1: 5}


def test_the_same_seed_gives_the_same_ids_and_another_seed_others() -> None:
    logits = mx.zeros((1, 1000))

    def ids(seed: int) -> list[int]:
        sampler = Sampler(seed=seed)
        return [sampler(logits).item() for _ in range(20)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_the_global_random_state_changes_nothing() -> None:
    logits = mx.zeros((1, 1000))
    mx.random.seed(1)
    first = Sampler(seed=5)(logits).item()
    mx.random.seed(2)
    assert Sampler(seed=5)(logits).item() == first


def test_frequencies_follow_the_probabilities() -> None:
    counts = drawn(Sampler(seed=3), mx.log(row(0.6, 0.3, 0.1)), 1500)
    for index, probability in enumerate((0.6, 0.3, 0.1)):
        assert counts[index] / 1500 == pytest.approx(probability, abs=0.05)


def test_a_low_temperature_sharpens_the_choice() -> None:
    logits = mx.log(row(0.6, 0.4))
    assert drawn(Sampler(temperature=0.1), logits)[0] > 270


def test_top_k_draws_only_from_the_k_most_likely() -> None:
    logits = mx.array(np.random.default_rng(0).permutation(50).astype(np.float32) / 50)[None]
    best = set(np.argsort(-np.array(logits[0]))[:4].tolist())
    assert set(drawn(Sampler(top_k=4), logits)) == best


def test_top_k_above_the_vocabulary_keeps_all_ids() -> None:
    assert set(drawn(Sampler(top_k=64), row(0.0, 0.0, 0.0))) == {0, 1, 2}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.5, {2}), (0.55, {2, 0}), (0.85, {2, 0, 3}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_ids_that_reach_it(top_p: float, kept: set[int]) -> None:
    logits = mx.log(row(0.25, 0.08, 0.52, 0.15))
    assert set(drawn(Sampler(top_p=top_p), logits, 400)) == kept


def test_top_p_counts_only_what_top_k_left() -> None:
    # of the whole, 0.3 / 0.25 / 0.2 are needed for 0.7; of the best two, 0.545 and 0.455
    logits = mx.log(row(0.3, 0.25, 0.2, 0.15, 0.1))
    assert set(drawn(Sampler(top_k=2, top_p=0.5), logits)) == {0}


@pytest.mark.parametrize("temperature", [0, 1])
def test_suppressed_ids_are_never_drawn(temperature: float) -> None:
    sampler = Sampler(temperature, suppress=(1, 3))
    assert set(drawn(sampler, row(0.0, 9.0, 0.1, 9.0), 50)) <= {0, 2}


def test_the_callers_logits_are_left_alone() -> None:
    logits = row(0.0, 1.0)
    Sampler(temperature=0, suppress=(1,))(logits).item()
    assert logits.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}]
    + [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"seed": -1}]
    + [{"temperature": "1"}, {"top_p": None}, {"top_k": "x"}, {"seed": "x"}],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(Gemma4Error, match=next(iter(settings))):
        Sampler(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-31, 1e-30, 1e-20])
@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_p": 0.9}])
def test_a_temperature_near_zero_takes_the_most_likely_id(
    temperature: float, settings: dict[str, float]
) -> None:
    sampler = Sampler(temperature, suppress=(4,), **settings)  # type: ignore[arg-type]
    assert drawn(sampler, row(-29.5, 29.0, 29.5, 0.0, 30.0), 20) == {2: 20}


@pytest.mark.parametrize("temperature", [1e30, 1e39, 1e300])
def test_a_huge_temperature_draws_all_ids_but_those_that_are_suppressed(temperature: float) -> None:
    assert set(drawn(Sampler(temperature, suppress=(1,)), row(-30.0, 30.0, 30.0))) == {0, 2}


@pytest.mark.parametrize("top_p", [5e-324, 1e-46, 1e-38, 1e-9])
def test_a_tiny_share_leaves_the_most_likely_id(top_p: float) -> None:
    assert drawn(Sampler(top_p=top_p), row(0.1, 0.3, 0.2), 20) == {1: 20}


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "seed"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(Gemma4Error, match=name):
        Sampler(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0, 1.0, 0.01])
def test_ids_are_scored_by_their_probabilities_before_temperature(temperature: float) -> None:
    sampler = Sampler(temperature, top_k=1, suppress=(0,), likeliest=2)
    draws = sampler.ahead(mx.log(mx.array([[0.5, 0.3, 0.2], [0.5, 0.1, 0.4], [1.0, 0.5, 0.5]])))
    sampler.keep(draws, 2)  # the third was proposed in vain
    (first, logs), (second, others) = sampler.scores
    assert first.tolist() == [1, 1, 2] and second.tolist() == [2, 2, 1]
    assert mx.exp(logs).tolist() == pytest.approx([0.6, 0.6, 0.4])
    assert mx.exp(others).tolist() == pytest.approx([0.8, 0.8, 0.2])


def test_penalties_are_taken_off_ids_that_were_drawn() -> None:
    logits = row(1.0, 0.5, 0.0)

    def ids(**penalties: float) -> list[int]:
        sampler = Sampler(temperature=0, **penalties)  # type: ignore[arg-type]
        return [sampler(logits).item() for _ in range(6)]

    assert ids(presence=0.6) == [0, 1, 0, 0, 0, 0]  # once each: 0.4, -0.1, 0
    assert ids(frequency=0.6) == [0, 1, 0, 2, 1, 0]
    assert ids(presence=-1, frequency=0) == [0] * 6
