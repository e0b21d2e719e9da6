import re
from pathlib import Path

import pytest

from mlx_gemma4 import cli
from mlx_gemma4.checkpoint import recipes
from mlx_gemma4.cli.fit import gigabytes
from mlx_gemma4.footprint import estimate, summary

USUAL = "google/gemma-4-12B-it"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["fit", *arguments]) == 0
    return capsys.readouterr().out


def rows(text: str) -> dict[str, list[str]]:
    found = (line.split() for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in found if cells and cells[0] in recipes.RECIPES}


def test_a_mac_that_one_does_not_have_gets_a_table_over_recipes_and_contexts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = told(capsys, "--memory", "16GB")
    assert "a Mac with 16 GB: 11.45 GB for a model (2/3 of the memory)" in text
    assert "8,192 tokens  32,768 tokens  131,072 tokens  262,144 tokens  most tokens" in text
    table = rows(text)
    assert list(table) == list(recipes.RECIPES)
    place, found = estimate.mac(16), summary.of(USUAL)
    for name, (weights, *totals, most) in table.items():
        model = found.converted(recipes.RECIPES[name])
        assert weights == f"{estimate.weights(model, place) / 1e9:.2f}"
        for context, total in zip((8192, 32768, 131072, 262144), totals, strict=True):
            need = estimate.need(model, place, context).total
            assert total == f"{need / 1e9:.2f}" + ("!" if need > place.budget else "")
        longest = estimate.largest_context(model, place)
        assert most == (f"{longest:,}" if longest else "none")
    assert table["4bit"][-1] != "none"
    assert table["bf16"][-1] == "none"


def test_a_context_and_kv_bits_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "--memory", "16", "--context", "200000", "--kv-bits", "8")
    assert "rows of the full layers in 8 bits" in text
    assert "200,000 tokens" in text
    need = estimate.need(
        summary.of(USUAL).converted(recipes.named("4bit")), estimate.mac(16), 200000, 8
    )
    assert rows(text)["4bit"][1] == f"{need.total / 1e9:.2f}"


def test_a_quantized_model_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "tiny-4bit", USUAL)
    assert re.search(r"^as it is +0\.\d\d", text, re.MULTILINE)
    assert "tiny-4bit, known from its files" in text
    assert f"{USUAL}, known from its published architecture" in text


def test_it_says_what_was_measured(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert "not on this kind of machine" in told(capsys, str(folder), "--memory", "64GB")


@pytest.mark.parametrize("text", ["16GB", "16", " 16 gib", "16g"])
def test_a_memory_is_read_as_apple_writes_it(text: str) -> None:
    assert gigabytes(text) == 16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory", "much"], "'much' is no size"),
        (["--memory", "0GB"], "Cause: '0GB' is no size"),
        (["--hosts", "0GB"], "Cause: '0GB' is no size"),
        (["--memory", "9" * 5000], "9' is no size"),
        (["--context", "0"], "--context is out of range"),
        (["--kv-bits", "3"], "invalid choice"),
        (["nothing"], "There is no model nothing"),
        (["google/gemma-4-12B-it-assistant"], "drafter"),
    ],
)
def test_what_cannot_be_meant_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(["fit", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_readme_has_the_figures_that_fit_prints(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (\d+) GB \| ([\d.]+) GB \| (\w+) \| ([\d.]+) GB \| ([\d,]+) tokens",
        readme,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == ["16", "18", "24", "32", "64"]
    for memory, budget, recipe, weights, most in rows:
        assert cli.main(["fit", "--memory", f"{memory}GB"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"a Mac with {memory} GB: {budget} GB for a model")
        found = next(line.split() for line in lines if line.startswith(f"{recipe} "))
        assert (found[1], found[-1]) == (weights, most)
