"""Pages at every image budget: what is asked, how it is scored, and what the report has."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import scores
from mlx_gemma4.evaluate.baselines.rival import Rival
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.ocr import QUESTION, same, same_value
from mlx_gemma4.evaluate.pages import page as pages
from mlx_gemma4.evaluate.question import Asked, Choice, Plot, Row, Table
from mlx_gemma4.evaluate.run import run, write
from mlx_gemma4.evaluate.statistics import Estimate
from mlx_gemma4.media.images import BUDGETS, resized_size

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"
DRAWN = ("receipts", "tables", "screens", "columns")
TESSERACT = pytest.mark.skipif(not shutil.which("tesseract"), reason="tesseract is not installed")


class Reader:
    """Somebody who knows the right answers, and returns them or another in their place."""

    recipe = revision = ""
    versions: Mapping[str, str] = {}
    takes = frozenset({"text", "image"})

    def __init__(self, name: str, pool: Sequence[str] = ()) -> None:
        self.name, self.pool, self.rng = name, pool, random.Random(5)

    def answer(self, asked: Asked) -> str:
        return self.rng.choice(self.pool) if self.pool else asked.wanted

    def close(self) -> None:
        pass


def ids(choice: Choice) -> list[str]:
    return [item.id for item in QUESTION.items(choice, Reader("nobody"))]


def tables(rows: Sequence[Row]) -> dict[str, list[Sequence[str]]]:
    parts = QUESTION.report(rows)
    return {p.title: list(p.rows) for p in parts if isinstance(p, Table) and "time" not in p.title}


def held_out() -> dict[str, tuple[float, float]]:
    """The intervals of the full-precision column of the table in the tiny model's README."""
    found = {}
    for line in (TINY / "README.md").read_text("utf-8").splitlines():
        if line.startswith("| receipt: "):
            name, _, full, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            low, high = full[full.index("[") + 1 : full.index("]")].split(",")
            found[name.removeprefix("receipt: ").removeprefix("all ")] = float(low), float(high)
    return found


def test_the_tiny_model_scores_what_its_own_table_says(tmp_path: Path) -> None:
    rows = run(QUESTION, [OurModel("tiny")], Choice(limit=2, tiny=True), tmp_path)
    by_kind = scores.groups(rows, "kind")
    assert {row.facts["budget"] for row in rows} == {70, 140}
    for (kind,), group in by_kind.items():
        found, (low, high) = scores.accuracy(group), held_out()[kind]
        assert found.low <= high and low <= found.high, f"{kind}: {found}"
    assert len(by_kind) == 6


@pytest.mark.parametrize("sets", [("tiny",), ("receipts", "columns")])
def test_who_answers_at_random_scores_what_chance_does(sets: tuple[str, ...]) -> None:
    choice = Choice(limit=6, sets=sets)
    items = QUESTION.items(choice, Reader("nobody"))
    by_kind: dict[object, list[str]] = {}
    for item in items:
        assert item.make is not None
        by_kind.setdefault((item.facts["set"], item.facts["kind"]), []).append(item.make().wanted)
    for (set_, kind), pool in by_kind.items():
        reader = Reader("random", pool)
        rows = [
            Row("ocr", item.id, item.facts, "random", "", "", QUESTION.measure(reader, item), 0, 0)
            for item in items
            if (item.facts["set"], item.facts["kind"]) == (set_, kind)
        ]
        found, chance = scores.accuracy(rows), scores.accuracy(scores.shuffled(rows))
        assert found.low <= chance.high and chance.low <= found.high
        most = 0.45 if kind == "count" else 0.3  # one to five things on a receipt
        assert found.value < most


def test_who_reads_everything_scores_all_and_shuffled_answers_fall_to_chance(
    tmp_path: Path,
) -> None:
    rows = run(QUESTION, [Reader("good")], Choice(limit=3, sets=DRAWN), tmp_path)
    assert scores.accuracy(rows).value == 1
    whole = [row for row in rows if row.facts["kind"] == "lines"]
    assert scores.character_error_rate(whole).value == 0
    mixed = scores.shuffled(whole)
    assert scores.accuracy(mixed).value < 0.3 and scores.character_error_rate(mixed).value > 0.4


def test_a_seed_gives_the_same_items_and_another_seed_none_of_them() -> None:
    choice = Choice(limit=2, sets=("tiny", *DRAWN))
    first = ids(choice)
    assert first == ids(choice) and len(set(first)) == len(first)
    assert not set(first) & set(ids(Choice(limit=2, sets=("tiny", *DRAWN), seed=1)))


def test_a_greater_limit_keeps_the_items_of_a_smaller_one() -> None:
    assert set(ids(Choice(limit=1, sets=DRAWN))) < set(ids(Choice(limit=2, sets=DRAWN)))


def test_other_fonts_give_items_of_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(Choice(limit=2, sets=DRAWN))
    serif = next(face for face in pages.faces("serif") if face.name == "STIXGeneral Bold")
    monkeypatch.setattr(pages, "faces", lambda shape: (serif,))
    assert not set(before) & set(ids(Choice(limit=2, sets=DRAWN)))


def test_every_page_is_asked_at_every_budget_and_print_grows_with_it() -> None:
    items = QUESTION.items(Choice(limit=2, sets=DRAWN), Reader("nobody"))
    heights: dict[object, list[tuple[int, float]]] = {}
    for item in items:
        place = heights.setdefault((item.facts["page"], item.facts["kind"]), [])
        place.append((item.facts["budget"], item.facts["height"]))  # type: ignore[arg-type]
    for found in heights.values():
        assert tuple(budget for budget, _ in found) == BUDGETS
        assert [height for _, height in found] == sorted(height for _, height in found)
        # sixteen times the area is four times the height, up to whole patches
        assert found[-1][1] / found[0][1] == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("name", ["tiny", *DRAWN])
def test_what_is_asked_shows_the_page_that_the_item_names(name: str) -> None:
    first, *_ = QUESTION.items(Choice(limit=1, sets=(name,)), Reader("nobody"))
    assert first.make is not None
    one, two = first.make(), first.make()
    assert np.array_equal(np.asarray(one.images[0]), np.asarray(two.images[0]))
    assert one.image_tokens == first.facts["budget"] and one.wanted


def test_the_height_is_that_of_a_small_x_after_resizing(tmp_path: Path) -> None:
    face, em = pages.faces("sans")[0], 60
    image = Image.new("RGB", (700, 500), "white")
    ImageDraw.Draw(image).text((50, 200), "xxxxx", fill="black", font=face.at(em))
    image.save(tmp_path / "x.png")
    entry = {"picture": "x.png", "answer": "xxxxx", "height": face.x_height * em}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(entry))
    for item in QUESTION.items(Choice(folder=tmp_path), Reader("nobody")):
        size = resized_size(500, 700, int(str(item.facts["budget"])))
        resized = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC).convert("L"))
        inked = int((resized.min(axis=1) < 128).sum())
        assert item.facts["height"] == pytest.approx(inked, abs=1.5)


def test_markdown_and_typography_cost_nothing_and_a_wrong_digit_does() -> None:
    table = "```markdown\n| City | Rain |\n|------|-----:|\n| Graz | 12 mm |\n```"
    assert same(table) == same("City  Rain\nGraz 12 mm")
    assert same("“a” – it’s ﬁne") == '"a" - it\'s fine'
    assert same(table.replace("12", "13")) != same("City Rain\nGraz 12 mm")
    assert same_value(" **12.40**.") == same_value("$12.40") == "12.40" != same_value("12.4")
    assert same("x | y, or -1 - -2") == "x | y, or -1 - -2"


def test_a_folder_of_ones_own_is_asked_whole_or_for_one_thing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (60, 40), "white").save(tmp_path / name / "p.png")
    (tmp_path / "a" / "manifest.jsonl").write_text(
        '{"picture": "p.png", "answer": "ALL"}\n\n'
        '{"picture": "p.png", "question": "Which, if any?", "answer": "1,5", "height": 9}\n'
    )
    (tmp_path / "b" / "answers.csv").write_text(
        'picture,question,answer,height\np.png,,ALL,\np.png,"Which, if any?","1,5",9\n'
    )
    assert ids(Choice(folder=tmp_path / "a")) == ids(Choice(folder=tmp_path / "b"))
    (tmp_path / "b" / "answers.csv").write_text(  # as spreadsheets write it where 1,5 is a number
        "picture;question;answer;height\np.png;;ALL;\np.png;Which, if any?;1,5;9\n"
    )
    assert ids(Choice(folder=tmp_path / "a")) == ids(Choice(folder=tmp_path / "b"))
    items = QUESTION.items(Choice(folder=tmp_path / "a"), Reader("nobody"))
    assert [item.facts["kind"] for item in items] == ["lines"] * 5 + ["value"] * 5
    assert ["height" in item.facts for item in items] == [False] * 5 + [True] * 5
    assert items[5].make is not None and items[5].make().text == "Which, if any?"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "neither manifest.jsonl nor answers.csv"),
        ({"manifest.jsonl": "", "answers.csv": ""}, "both manifest.jsonl and answers.csv"),
        ({"manifest.jsonl": "\n"}, "names no picture"),
        ({"manifest.jsonl": "{picture"}, "manifest.jsonl, line 1 is not JSON"),
        ({"manifest.jsonl": "[]"}, "line 1 is not an object"),
        ({"answers.csv": "picture,answer\np.png,\n"}, "answers.csv, line 2 has no answer"),
        ({"answers.csv": "file,answer\np.png,x\n"}, "line 2 has no picture"),
        ({"answers.csv": "picture,answer\np.png,1, 2\n"}, "line 2 has more values than heads"),
        (
            {"answers.csv": 'picture,answer\np.png,"x\np.png,y\n'},
            "is not CSV after line 1",
        ),
        ({"answers.csv": f'picture,answer\np.png,"{"x" * 140_000}\n'}, "is not CSV"),
        ({"answers.csv": "picture,answer\nq.png,x\n"}, "there is no picture"),
        (
            {"answers.csv": "picture,answer,height\np.png,x,tall\n"},
            "height tall is no number above 0",
        ),
        ({"answers.csv": "picture,answer,height\np.png,x,-1\n"}, "height -1 is no number above 0"),
        (
            {"manifest.jsonl": f'{{"picture": "p.png", "answer": "x", "height": 1{"0" * 400}}}'},
            "000 is no number above 0",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_says_what_is_wrong(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    Image.new("RGB", (60, 40), "white").save(tmp_path / "p.png")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(Gemma4Error) as raised:
        ids(Choice(folder=tmp_path))
    assert told in raised.value.cause


def test_the_set_folder_without_a_folder_asks_for_one() -> None:
    with pytest.raises(Gemma4Error, match="no pictures of yours") as raised:
        ids(Choice(sets=("folder",)))
    assert "--folder" in raised.value.remedy


def test_a_killed_run_that_goes_on_gives_the_same_tables(tmp_path: Path) -> None:
    choice = Choice(limit=2, sets=("receipts", "columns"))
    whole = run(QUESTION, [Reader("good")], choice, tmp_path / "one")
    lines = (tmp_path / "one" / "results.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "results.jsonl").write_text("".join(lines[:7]) + lines[7][:40], "utf-8")
    resumed = run(QUESTION, [Reader("good")], choice, tmp_path / "two")
    assert tables(resumed) == tables(whole)


def test_the_report_has_errors_by_budget_and_height_and_its_plots(tmp_path: Path) -> None:
    choice = Choice(limit=2, sets=("tables",))
    rows = run(QUESTION, [Reader("good"), Reader("bad", ["?"])], choice, tmp_path)
    parts = QUESTION.report(rows)
    text = write("what?", rows, parts, tmp_path).read_text("utf-8")
    for plot in (part for part in parts if isinstance(part, Plot)):
        assert (tmp_path / f"{plot.file}.png").stat().st_size > 5_000
    heights = [p for p in parts if isinstance(p, Plot) and p.file == "errors-tables-1"]
    assert list(heights[0].lines) == [f"{budget} tokens" for budget in BUDGETS]
    perfect = f"{Estimate(1.0, 0.342, 1.0, 2)}"
    assert any(line[:4] == ["value", "70", "2", perfect] for line in _lines(parts))
    assert "good - bad" in text and "+1.000 [+1.000, +1.000]" in text


def test_an_absent_tesseract_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Gemma4Error, match="tesseract is not") as raised:
        Rival("tesseract")
    assert "brew install tesseract" in raised.value.remedy
    assert "apt install tesseract-ocr" in raised.value.remedy


@TESSERACT
def test_a_language_that_tesseract_has_not_is_told() -> None:
    with pytest.raises(Gemma4Error) as raised:
        Rival("tesseract:xyz")
    assert "xyz" in raised.value.cause


@TESSERACT
def test_tesseract_stands_beside_a_model_on_the_same_pages_in_one_table(tmp_path: Path) -> None:
    choice = Choice(limit=1, sets=DRAWN)
    subjects = [Reader("good"), Rival("tesseract")]
    rows = run(QUESTION, subjects, choice, tmp_path)
    theirs = [row for row in rows if row.model == "tesseract"]
    assert {row.facts["kind"] for row in theirs} == {"lines"} and len(theirs) == 4
    assert scores.character_error_rate(theirs).value < 0.2  # so the pages can be read
    beside = tables(rows)[""]
    assert {(line[0], line[2]) for line in beside} == {(name, "1") for name in DRAWN}
    readers = {line[1] for line in beside}
    assert readers == {"tesseract, as drawn", *(f"good, {n} tokens" for n in BUDGETS)}


def _lines(parts: Sequence[object]) -> list[list[str]]:
    return [list(line) for part in parts if isinstance(part, Table) for line in part.rows]
