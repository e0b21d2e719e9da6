import random
from pathlib import Path

import pytest

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.evaluate import context, footprint, haystack, scores
from mlx_gemma4.evaluate import context as told
from mlx_gemma4.evaluate.context import Context
from mlx_gemma4.evaluate.haystack import DEPTHS, Haystack
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.question import Choice, Item, Plot, Row, Table
from mlx_gemma4.evaluate.run import run
from mlx_gemma4.footprint import device, estimate, summary
from mlx_gemma4.hub import catalog

TINY = catalog.DEMONSTRATION


@pytest.fixture(scope="module")
def model() -> OurModel:
    return OurModel(TINY)


def size(hay: Haystack, model: OurModel) -> int:
    question = Turn("user", (TextPart(next(iter(hay.asked))),))
    prompt = render([*hay.turns, question], model.tokenizer, model.model.config)
    return len(prompt.token_ids)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Receipts at every depth of two lengths: within the tiny model's window, and far beyond."""
    work = tmp_path_factory.mktemp("context")
    patch = pytest.MonkeyPatch()
    patch.setattr(context, "SMALL", (192, 640))
    patch.setattr(context, "DEPTHS", 5)
    choice = Choice(1, 3, ("tiny-picture",), work=work, tiny=True)
    try:
        return run(Context(), [OurModel(TINY)], choice, work)
    finally:
        patch.undo()


def at(rows: list[Row], length: int) -> list[Row]:
    return [row for row in rows if row.facts["length"] == length]


def test_a_receipt_within_the_window_is_recalled_as_the_held_out_table_says(
    rows: list[Row],
) -> None:
    found = scores.accuracy(at(rows, 192))
    assert found.n == 5
    assert found.low <= 1.0 and found.high >= 0.996  # its total and date, asked at once


def test_a_receipt_beyond_the_window_is_forgotten(rows: list[Row]) -> None:
    early = [row for row in at(rows, 640) if int(str(row.facts["depth"])) < 50]
    assert len(early) == 2
    assert not any(row.measured["exact"] for row in early)


def test_shuffled_needles_fall_to_chance(rows: list[Row]) -> None:
    found = at(rows, 192)
    assert scores.accuracy(found).value >= 0.8
    assert scores.accuracy(scores.shuffled(found, told.number)).value == 0


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_small_conversations_are_as_long_as_asked_and_no_longer(
    kind: str, length: int, model: OurModel
) -> None:
    config = model.model.config
    for depth in (0.0, 0.5, 1.0):
        hay = haystack.build_small(kind, length, depth, "x", model.tokenizer, config)
        assert length - 130 < size(hay, model) <= length
        media = ImagePart if kind == "picture" else SoundPart
        places = [n for n, t in enumerate(hay.turns) if any(isinstance(p, media) for p in t.parts)]
        assert len(places) == 1
        if length == 512:
            assert abs(places[0] / (len(hay.turns) - 2) - depth) < 0.25


def test_ten_needles_lie_at_equal_distances_in_a_conversation_of_the_length(
    model: OurModel,
) -> None:
    hay = haystack.build("text", 4096, "x", model.tokenizer, model.model.config)
    assert len(hay.asked) == DEPTHS
    assert abs(size(hay, model) - 4096) < 60
    said = [part.text for turn in hay.turns for part in turn.parts if isinstance(part, TextPart)]
    for question, number in hay.asked.items():
        colour = question.split()[6]
        assert f"The code of the {colour} locker is {number}." in said
    fillers = [text for text in said if text.startswith("Some notes:")]
    assert len(fillers) == DEPTHS - 1
    assert "".join(said).count(next(iter(hay.asked.values()))) == 1


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_a_needle_can_be_a_sign_or_be_spoken(kind: str, model: OurModel) -> None:
    needle = haystack.needles(random.Random(0))[0]
    medium = {"picture": ImagePart, "sound": SoundPart}[kind]
    parts = needle.parts(kind)
    assert any(isinstance(part, medium) for part in parts)
    assert not any(isinstance(p, TextPart) and needle.number in p.text for p in parts)


def test_one_conversation_is_read_once_for_all_its_needles(model: OurModel) -> None:
    question, choice = Context(), Choice(1, 3, ("text",))
    items = [item for item in question.items(choice, model) if item.facts["length"] == 1024]
    assert len(items) == DEPTHS
    seen = []
    for item in items[:2]:
        measured = question.measure(model, item)
        held = question._held
        assert held is not None
        seen.append(held[2])
        assert abs(measured["tokens"] - 1024) < 60
    assert seen[0] is seen[1]


def test_only_digits_count_in_an_answer() -> None:
    assert told.number("The code is 5 8 2 3 1.") == "58231"
    assert told.number("2031-07-02") == "2031-07-02"
    assert told.number("no idea") == ""


def test_memory_at_a_length_is_what_fit_says_and_stands_in_the_report(
    tmp_path: Path, model: OurModel
) -> None:
    choice = Choice(1, 3, ("memory",), work=tmp_path)
    rows = run(Context(), [OurModel(TINY)], choice, tmp_path)
    assert [row.facts["length"] for row in rows] == [1024]
    measured = rows[0].measured
    need = estimate.need(summary.of_folder(model.folder).model, device.this(), 1024 - 8)
    assert measured["rows"] <= need.rows
    assert abs(measured["rows"] / need.rows - 1) < 0.25
    assert abs(footprint.predicted(measured) * 1e9 / measured["prefill"] - 1) < 0.15
    assert measured["resident"] > measured["prefill"] > measured["load"]
    parts = told.QUESTION.report(rows)
    table = next(part for part in parts if isinstance(part, Table))
    assert table.rows[0][0] == "1,024"
    assert [part.file for part in parts if isinstance(part, Plot)] == [
        "memory",
        "prefill",
        "decode",
    ]


def test_what_does_not_fit_is_said_and_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        device, "this", lambda: estimate.Machine("a watch", 10**6, "a guess", "cpu", 4)
    )
    choice = Choice(1, 3, ("memory",), work=tmp_path)
    rows = run(Context(), [OurModel(TINY)], choice, tmp_path)
    assert rows[0].failed
    assert "does not fit" in rows[0].measured["failed"]


def test_the_depth_table_has_a_row_a_length_and_a_column_a_depth(rows: list[Row]) -> None:
    tables = [part for part in told.QUESTION.report(rows) if isinstance(part, Table)]
    depths = tables[1]
    assert [row[0] for row in depths.rows] == ["192", "640"]
    assert list(depths.heads[1:]) == ["0", "25", "50", "75", "100"]
    assert all(len(row) == 6 for row in depths.rows)


def test_lengths_end_with_the_models_context(model: OurModel) -> None:
    question = Context()

    def lengths(items: list[Item]) -> list[object]:
        return sorted({item.facts["length"] for item in items}, key=lambda n: int(str(n)))

    for name in ("memory", "text"):
        found = question.items(Choice(9, 3, (name, "long")), model)
        assert lengths(list(found)) == [1024, 2048, 4096, 8192 - 256]
