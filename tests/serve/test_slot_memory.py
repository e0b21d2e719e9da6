"""How long conversations may be such that all slots fit."""

from dataclasses import replace

import pytest

from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.cluster import fit
from mlx_gemma4.cluster.cut import Cut
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import device, estimate, summary
from mlx_gemma4.footprint.estimate import Machine, mac
from mlx_gemma4.hub import catalog
from mlx_gemma4.limits import STEP
from mlx_gemma4.serve.slot_memory import context_here, fitting_context, fitting_over


def the_12b() -> estimate.Model:
    package = catalog.known("google/gemma-4-12B-it")
    assert package is not None
    return summary.of_architecture(package).converted(RECIPES["4bit"])


PLACES = 2 * 40 * 1024 * 2 * 8 * 256 * 2
"""Bytes of two windows of 40 sliding layers with keys and values of 8 heads, in 16 bits."""


def total(context: int, slots: int) -> int:
    need = estimate.need(the_12b(), mac(16), context, conversations=slots)
    assert need.places == slots * PLACES
    return need.total


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_all_slots_are_as_long_as_the_memory_allows_and_no_longer(slots: int) -> None:
    context = fitting_context(the_12b(), mac(16), slots, None)
    assert context is not None and context % STEP == 0
    assert total(context, slots) <= mac(16).budget < total(context + STEP, slots)


def test_the_rows_of_two_conversations_are_twice_those_of_one() -> None:
    one, two = (estimate.need(the_12b(), mac(16), 8192, conversations=n) for n in (1, 2))
    assert (two.rows, two.pictures) == (2 * one.rows, 2 * one.pictures)
    assert (two.weights, two.reading) == (one.weights, one.reading)


def test_what_the_model_can_hold_at_most_is_its_own_limit() -> None:
    assert fitting_context(the_12b(), mac(64), 2, None) is None
    assert fitting_context(the_12b(), mac(16), 2, 8192) == 8192


def test_what_does_not_fit_names_what_does() -> None:
    with pytest.raises(Gemma4Error) as refused:
        fitting_context(the_12b(), mac(16), 2, 150_000)
    most = fitting_context(the_12b(), mac(16), 2, None)
    assert refused.value.code == "memory_too_small"
    assert f"Use --slots 1, or --context {most};" in refused.value.remedy


def test_slots_that_leave_no_useful_conversation_are_refused() -> None:
    least = total(3000, 1)
    small = Machine("this Mac", least, "as Metal recommends", "metal")
    with pytest.raises(Gemma4Error, match="--slots 1"):
        fitting_context(the_12b(), small, 4, None)


def test_a_model_that_does_not_fit_at_all_is_left_to_loading_it() -> None:
    assert fitting_context(the_12b(), mac(8), 2, None) is None


def test_a_model_of_this_computer_is_measured_and_another_left_to_loading_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "this", lambda: Machine("this Mac", 220_000_000, "Metal", "cpu", 4))
    one, four = (context_here("tiny", slots, None) for slots in (1, 4))
    assert one is not None and four is not None and 2048 <= four < one
    assert context_here("nobody/is-here", 2, 4096) == 4096


def test_slots_over_several_computers_fit_into_the_part_of_each() -> None:
    known = summary.of("google/gemma-4-12B-it")
    eight = replace(known, tensors=known.converted(RECIPES["8bit"]).tensors)
    macs = [fit.Computer(name, mac(16)) for name in ("mac1", "mac2")]
    assert fitting_over(eight, (), macs, 1, None) is None  # the model's own limit
    context = fitting_over(eight, (24,), macs, 2, None)
    assert context is not None and context < 262_144

    def fits(tokens: int) -> list[bool]:
        needs = (
            estimate.need(part, mac(16), tokens, conversations=2)
            for part in fit.parts(eight.model, Cut((24, 48)))
        )
        return [need.total <= mac(16).budget and need.places == PLACES for need in needs]

    assert fits(context) == [True, True] and not all(fits(context + STEP))
    with pytest.raises(Gemma4Error, match="the computers have 11.45 [+] 11.45 GB") as refused:
        fitting_over(eight, (24,), macs, 2, 262_144)
    assert f"--context {context};" in refused.value.remedy
