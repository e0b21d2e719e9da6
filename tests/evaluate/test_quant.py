import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.evaluate import quant as told
from mlx_gemma4.evaluate.logits import Answered, answered, distance, written
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.quant import Quant
from mlx_gemma4.evaluate.question import Choice, Row
from mlx_gemma4.evaluate.run import run
from mlx_gemma4.evaluate.tiny import speech
from mlx_gemma4.hub import catalog

TINY = catalog.DEMONSTRATION
# the accuracy of the tiny model on these items, in assets/tiny/README.md: the least and the most
HELD_OUT = {"picture": (0.898, 1.0), "sound": (0.820, 0.984)}


def asked(work: Path, *recipes: str, limit: int = 6, sets: tuple[str, ...] = ()) -> list[Row]:
    choice = Choice(limit, 3, sets, recipes=recipes, work=work, tiny=True, models=(TINY,))
    return run(Quant(), [OurModel(TINY)], choice, work)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return asked(tmp_path_factory.mktemp("quant"), "bf16", "8bit", "4bit-small", limit=6)


def of(rows: list[Row], recipe: str) -> list[Row]:
    return [row for row in rows if row.recipe == recipe]


@pytest.mark.parametrize("recipe", ["as it is", "bf16"])
def test_a_model_is_at_no_distance_from_itself(rows: list[Row], recipe: str) -> None:
    found = of(rows, recipe)
    assert len(found) == 18
    assert {row.measured["divergence"] for row in found} == {0.0}
    assert {row.measured["agreement"] for row in found} == {1.0}


@pytest.mark.parametrize("medium", ["text", "picture", "sound"])
def test_more_bits_are_nearer_to_the_full_model(rows: list[Row], medium: str) -> None:
    eight, four = (
        told.divergence([r for r in of(rows, name) if r.facts["medium"] == medium])
        for name in ("8bit", "4bit-small")
    )
    assert 0 < eight.value < four.value
    assert four.value > 5 * eight.value


def test_the_tiny_model_answers_as_its_held_out_table_says(rows: list[Row]) -> None:
    for medium, (least, most) in HELD_OUT.items():
        found = [r for r in of(rows, "as it is") if r.facts["medium"] == medium]
        hits = told.scores.accuracy(found)
        assert hits.low <= most
        assert hits.high >= least


def test_answers_beside_other_questions_fall_to_chance(rows: list[Row]) -> None:
    seen = [r for r in of(rows, "as it is") if r.facts["medium"] == "picture"]
    assert told.scores.accuracy(seen).value >= 0.8
    assert told.scores.accuracy(told.scores.shuffled(seen)).value == 0


def test_a_model_of_random_weights_is_right_by_chance_and_as_far_as_can_be(folder: Path) -> None:
    full, chance = OurModel(TINY), OurModel(str(folder))
    for item in told.tiny("picture", 3, 5):
        assert item.make is not None
        question = item.make()
        right = answered(full.model, full.tokenizer, question, 8)
        guessed = answered(chance.model, chance.tokenizer, question, 8)
        assert not guessed.is_greedy
        assert guessed.surprise / len(guessed.ids) > 2 > right.surprise / len(right.ids)
        assert chance.answer(dataclasses.replace(question, most=8)) != question.wanted


def test_the_recipes_of_a_model_alone_are_all_and_beside_another_none() -> None:
    def recipes(*names: str) -> set[str]:
        choice = Choice(1, 3, ("tiny-text",), tiny=True, models=names)
        return {item.recipe for item in Quant().items(choice, OurModel(TINY))}

    assert recipes(TINY) == {"", *RECIPES} - {"bf16"}
    assert recipes(TINY, f"{TINY}-4bit") == {""}


def test_the_report_has_a_row_of_each_recipe_in_every_table(rows: list[Row]) -> None:
    tables = [p for p in told.QUESTION.report(rows) if isinstance(p, told.Table)]
    assert len(tables) == 8
    for table in tables[:-1]:
        assert [row[0] for row in table.rows] == [
            "tiny", "tiny (bf16)", "tiny (8bit)", "tiny (4bit-small)",
        ]  # fmt: skip
    alone = [row for row in rows if row.item == rows[0].item]
    single = [p for p in told.QUESTION.report(alone) if isinstance(p, told.Table)]
    assert [table.rows for table in single if table.title == "The same by chance"] == [[]]
    sizes = [float(row[1]) for row in tables[0].rows]
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3]


def test_what_is_fed_is_what_a_session_feeds() -> None:
    model = OurModel(TINY)
    for medium in ("text", "picture", "sound"):
        for item in told.tiny(medium, 2, 5):
            assert item.make is not None
            question = item.make()
            fed = written(model.model.config, model.tokenizer, question)
            prompt = model.session(question)._conversation.prompt().prompt
            assert fed.token_ids == prompt.token_ids
            for ours, theirs in zip(fed.audio, prompt.audio, strict=True):
                assert np.array_equal(ours, theirs)


def test_the_likeliest_ids_at_the_answers_rows_are_what_greedy_decoding_draws() -> None:
    model, found = OurModel(TINY), []
    for item in told.tiny("picture", 4, 11):
        assert item.make is not None
        question = item.make()
        greedy = answered(model.model, model.tokenizer, question).is_greedy
        assert greedy == (model.answer(question) == question.wanted)
        found.append(greedy)
    wrong = dataclasses.replace(question, wanted="nothing of the kind")
    assert any(found) and not answered(model.model, model.tokenizer, wrong).is_greedy


def test_the_surprise_of_even_odds_is_that_of_a_coin_a_row() -> None:
    even = np.log(np.full((3, 2), 0.5, np.float32))
    assert Answered(np.array([0, 1, 1]), even).surprise == pytest.approx(3 * np.log(2))


def test_divergence_is_that_of_two_known_distributions() -> None:
    p, q = np.array([[0.6, 0.4], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    apart = distance(np.log(p).astype(np.float32), np.log(q).astype(np.float32))
    expected = 0.6 * np.log(0.6 / 0.25) + 0.4 * np.log(0.4 / 0.75)
    assert apart["divergence"] == pytest.approx(expected / 2, rel=1e-5)
    assert apart["agreement"] == 0.5


def test_the_reference_is_read_from_the_disk_and_never_beside_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = OurModel(TINY), OurModel(f"{TINY}-4bit")
    choice = Choice(2, 3, ("tiny-text",), work=tmp_path, tiny=True, models=(TINY, second.name))
    question = Quant()
    items = [item for item in question.items(choice, first) if not item.recipe]
    for item in items:
        question.measure(first, item)
    first.close()
    again = question.items(choice, second)
    assert [item.id for item in again] == [item.id for item in items]
    references = question._references
    assert references is not None
    assert 0 < question.measure(second, again[0])["divergence"] < 0.1
    assert not references.reference.is_loaded
    for file in tmp_path.rglob("*.npz"):  # what is lost is computed again, for all at once
        file.unlink()
    question.measure(second, again[1])
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert not references.reference.is_loaded


def test_passages_and_facts_are_the_same_whenever_they_are_made() -> None:
    choice = Choice(2, 3, ("text", "facts"))
    model = OurModel(TINY)
    made = [[i.make() for i in told.items(choice, model) if i.make] for _ in range(2)]
    assert len(made[0]) == 4
    for one, other in zip(*made, strict=True):
        assert (one.text, one.wanted) == (other.text, other.wanted)
    assert made[0][2].wanted in made[0][2].text
    assert made[0][0].wanted not in made[0][0].text


def test_a_machine_without_voices_is_told_and_its_other_items_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> object:
        raise OSError("libespeak-ng.so.1: cannot open shared object file")

    monkeypatch.setattr(speech, "speaker", absent)
    rows = asked(tmp_path, "8bit", limit=1)
    failed = {row.facts["medium"]: row.failed for row in rows}
    assert failed == {"text": False, "picture": False, "sound": True}
