from pathlib import Path

import pytest

from mlx_gemma4.checkpoint import load
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import footprint, memory
from mlx_gemma4.evaluate import memory as told
from mlx_gemma4.evaluate.memory import Memory
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.question import Choice, Plot, Row, Table
from mlx_gemma4.evaluate.run import run
from mlx_gemma4.hub import catalog

TINY = catalog.DEMONSTRATION


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    work = tmp_path_factory.mktemp("memory")
    choice = Choice(1, 3, recipes=("4bit",), work=work, tiny=True, models=(TINY,))
    patch = pytest.MonkeyPatch()
    patch.setattr(memory, "SMALL", (512,))
    patch.setattr(memory, "KV_BITS", ("none", "4"))
    try:
        return run(Memory(), [OurModel(TINY)], choice, work)
    finally:
        patch.undo()


def find(rows: list[Row], recipe: str, bits: str) -> dict[str, float]:
    found = [r for r in rows if (r.recipe, r.facts["kv_bits"]) == (recipe, bits)]
    assert len(found) == 1
    return dict(found[0].measured)


def test_every_combination_of_recipe_and_bits_is_measured(rows: list[Row]) -> None:
    assert not any(row.failed for row in rows)
    assert {(row.recipe, row.facts["kv_bits"]) for row in rows} == {
        (recipe, bits) for recipe in ("as it is", "4bit") for bits in ("none", "4")
    }


def test_fewer_bits_take_less(rows: list[Row]) -> None:
    assert find(rows, "4bit", "none")["load"] < 0.8 * find(rows, "as it is", "none")["load"]
    held = [find(rows, "as it is", bits)["rows"] for bits in ("none", "4")]
    assert held[0] > held[1]


@pytest.mark.parametrize("recipe", ["as it is", "4bit"])
def test_what_is_held_is_near_what_was_predicted(rows: list[Row], recipe: str) -> None:
    found = find(rows, recipe, "none")
    more = found["load"] - found["predicted_load"]  # what is read and converted side by side
    assert 0 <= more < load.AT_ONCE
    for step in ("prefill", "decode"):
        assert abs(found[f"predicted_{step}"] / found[step] - 1) < 0.15


def test_the_report_has_a_table_of_each_recipe_and_a_plot(rows: list[Row]) -> None:
    parts = told.QUESTION.report(rows)
    tables = [part for part in parts if isinstance(part, Table)]
    assert [(table.title, len(table.rows)) for table in tables] == [("tiny", 2), ("tiny (4bit)", 2)]
    plots = [part for part in parts if isinstance(part, Plot)]
    assert [len(plot.lines) for plot in plots] == [2, 2]


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in OurModel(TINY).folder.iterdir():
        content = file.read_bytes()
        if file.name == "config.json":
            content = content.replace(b'"vocab_size": 704', b'"vocab_size": 705')
        (folder / file.name).write_bytes(content)
    with pytest.raises(Gemma4Error, match="stopped with status 1: .*another shape"):
        footprint.measure(folder, 256, None, True)


def test_recipes_are_for_unquantized_models() -> None:
    four = OurModel(f"{TINY}-4bit")
    with pytest.raises(Gemma4Error, match="quantized already"):
        Memory().items(Choice(1, recipes=("8bit",), models=(four.name,)), four)
