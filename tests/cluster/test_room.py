"""What a computer has room for beside others, and what happens where that is too little."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.cluster import facts, fit
from mlx_gemma4.cluster.cut import Cut
from mlx_gemma4.cluster.fit import Computer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import estimate, summary
from mlx_gemma4.footprint.estimate import Machine, mac
from mlx_gemma4.footprint.held import Holder

MODEL = "google/gemma-4-12B-it"


@pytest.mark.parametrize(("backend", "budget"), [("metal", 7 << 30), ("cpu", 12 << 30)])
def test_what_other_programs_hold_is_counted_where_the_system_does_not(
    backend: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = replace(mac(16), budget=12 << 30, backend=backend)
    other = Holder(77, "gemma4 worker", "layers of a model", 5 << 30)
    monkeypatch.setattr(facts.device, "this", lambda: place)
    monkeypatch.setattr(facts.held, "others", lambda: [other])
    found, taken = facts.machine()
    assert found.budget == budget
    assert taken == "gemma4 worker (process 77) holds 5.4 GB"


def facts_of(place: Machine, taken: str = "") -> facts.Facts:
    return facts.Facts(3, "", "", "", place, "", "", "", "", 3.0, taken)


def test_workers_on_the_leaders_own_computer_share_its_memory() -> None:
    own, other = Computer("this computer", mac(24), 5.0), facts_of(mac(16))
    shared = fit.computers_of(own, ("local", "mac2"), [facts_of(mac(24)), other])
    assert [one.machine.budget for one in shared] == [
        mac(24).budget // 2, mac(24).budget // 2, mac(16).budget,
    ]  # fmt: skip
    assert [one.speed for one in shared] == [5.0, 5.0, 3.0]


def test_a_drafter_and_the_rows_that_it_reads_are_counted_on_the_leader() -> None:
    plain = summary.of(MODEL).converted(RECIPES["4bit"])
    drafter = summary.of_drafter("google/gemma-4-12B-it-assistant")
    cuts = {name: Cut(stops) for name, stops in {"even": (24, 48), "all but one": (47, 48)}.items()}
    place, context = mac(16), 100 * 256

    def rows(model: estimate.Model, cut: Cut) -> list[int]:
        found = fit.parts(model, cut)
        return [estimate.need(one, place, context, answer=1).rows for one in found]

    proposing = replace(plain, drafter=drafter)
    leader, worker = fit.parts(proposing, cuts["even"])
    assert estimate.weights(leader, place) - estimate.weights(
        fit.parts(plain, cuts["even"])[0], place
    ) == estimate.weights(drafter, place)
    assert worker.drafter is None
    full = context * 640 * 2  # a row of 640 numbers in bfloat16
    before, after = rows(plain, cuts["even"]), rows(proposing, cuts["even"])
    assert after[1] == before[1]
    assert after[0] - before[0] - full == (before[0] - 4 * full) // 20  # of a sliding layer
    # where the leader has the last sliding layer itself, only the full one's rows are borrowed
    before, after = rows(plain, cuts["all but one"]), rows(proposing, cuts["all but one"])
    assert [b - a for a, b in zip(before, after, strict=True)] == [full, 0]


def test_a_worker_with_too_little_memory_is_named_with_what_it_has_and_who_takes_it() -> None:
    full = facts_of(replace(mac(16), budget=200 << 20), "gemma4 (process 5) holds 12.0 GB")
    computers = fit.computers_of(Computer("this computer", mac(16)), ("mac2",), [full])
    with pytest.raises(Gemma4Error) as caught:
        fit.best(summary.of(MODEL), computers)
    assert caught.value.code == "memory_too_small"
    assert "+ 0.21 GB" in caught.value.cause
    assert caught.value.cause.endswith("On mac2, gemma4 (process 5) holds 12.0 GB.")
