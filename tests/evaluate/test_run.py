"""Asking, reporting, scoring, and the figures behind it; without a model."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import run as report
from mlx_gemma4.evaluate import scores, statistics
from mlx_gemma4.evaluate.question import Asked, Choice, Item, Plot, Row, Table, Words
from mlx_gemma4.evaluate.run import RESULTS, failures, read, run
from tests.evaluate.counting import Counting, Parrot


def ask(folder: Path, *subjects: Parrot, choice: Choice = Choice()) -> list[Row]:  # noqa: B008
    return run(Counting(), subjects, choice, folder)


def told(rows: Sequence[Row]) -> list[tuple[str, str, Any]]:
    """What is the same in every run of the same command."""
    return [(row.model, row.item, dict(row.measured)) for row in rows]


def test_every_item_is_asked_of_every_subject(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot("one"), Parrot("two"))
    assert [(row.model, row.facts["number"]) for row in rows] == [
        (name, n) for name in ("one", "two") for n in range(6)
    ]
    assert all(row.measured["exact"] for row in rows)


def test_a_line_holds_whom_it_is_of_and_on_what(tmp_path: Path) -> None:
    ask(tmp_path, Parrot("one", "abc"), choice=Choice(limit=1, seed=7))
    (line,) = (tmp_path / RESULTS).read_text().splitlines()
    found = json.loads(line)
    assert found["question"] == "counting" and found["item"] == "numbers-7-0"
    assert (found["model"], found["revision"], found["versions"]) == (
        "one",
        "abc",
        {"parrot": "1.0"},
    )
    assert "cores" in found["machine"] and found["seconds"] >= 0


def test_a_result_may_hold_any_letter(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot("a\u2028b\x85c\ud800"))
    assert told(read(tmp_path / RESULTS)) == told(rows)


def test_what_is_chosen_twice_counts_once(tmp_path: Path) -> None:
    item = Item("one", {}, lambda: Asked("number 1"))
    parrot = Parrot()
    rows = run(Counting([item, item]), [parrot], Choice(), tmp_path)
    assert len(rows) == len(parrot.asked) == 1


def test_what_has_a_result_is_not_asked_again(tmp_path: Path) -> None:
    first = ask(tmp_path, Parrot())
    again = Parrot()
    assert told(ask(tmp_path, again)) == told(first)
    assert again.asked == []


def test_a_larger_limit_asks_only_what_is_new(tmp_path: Path) -> None:
    ask(tmp_path, Parrot(), choice=Choice(limit=2))
    more = Parrot()
    assert len(ask(tmp_path, more, choice=Choice(limit=5))) == 5
    assert more.asked == ["number 2", "number 3", "number 4"]


def test_another_seed_has_results_of_its_own(tmp_path: Path) -> None:
    ask(tmp_path, Parrot(), choice=Choice(seed=1))
    other = Parrot()
    rows = ask(tmp_path, other, choice=Choice(seed=2))
    assert len(rows) == len(other.asked) == 6
    assert all(row.item.startswith("numbers-2-") for row in rows)


@pytest.mark.parametrize("stop_at", range(7))
def test_a_run_that_was_interrupted_goes_on_with_the_same_command(
    tmp_path: Path, stop_at: int
) -> None:
    whole = ask(tmp_path / "whole", Parrot(), Parrot("two"))
    stopped = Parrot(stop_at=stop_at)
    try:
        ask(tmp_path / "killed", stopped, Parrot("two"))
    except KeyboardInterrupt:
        assert stop_at < 6
    rest = Parrot()
    assert told(ask(tmp_path / "killed", rest, Parrot("two"))) == told(whole)
    assert stopped.asked + rest.asked == [f"number {n}" for n in range(6)]


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1))
def test_results_that_were_cut_off_anywhere_give_the_same_table(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = ask(folder, Parrot())
    content = (folder / RESULTS).read_bytes()
    (folder / RESULTS).write_bytes(content[: int(share * len(content))])
    rest = Parrot()
    assert told(sorted(ask(folder, rest), key=lambda row: row.item)) == told(whole)
    lines = (folder / RESULTS).read_text().splitlines()
    assert len(lines) == 6 and all(json.loads(line)["item"] for line in lines)


def test_a_line_that_is_none_of_ours_is_an_error(tmp_path: Path) -> None:
    for line in ("{}", "not json", '{"question": "counting", "more": 1}'):
        (tmp_path / RESULTS).write_text(line + "\n")
        with pytest.raises(Gemma4Error, match="not usable"):
            ask(tmp_path, Parrot())


def test_results_of_another_revision_are_refused_and_kept(tmp_path: Path) -> None:
    ask(tmp_path, Parrot(revision="1"))
    before = (tmp_path / RESULTS).read_bytes()
    with pytest.raises(Gemma4Error, match="other weights") as caught:
        ask(tmp_path, Parrot(revision="2"))
    assert "at 1" in caught.value.cause and "at 2 now" in caught.value.cause
    assert (tmp_path / RESULTS).read_bytes() == before
    assert len(ask(tmp_path, Parrot("another", revision="2"))) == 6


def test_what_failed_is_told_and_asked_again_by_the_next_run(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot(silent=["number 2", "number 4"]))
    assert [row.facts["number"] for row in rows if row.failed] == [2, 4]
    assert failures(rows) == [
        "parrot: It is silent: number 2 cannot be said. (1 items)",
        "parrot: It is silent: number 4 cannot be said. (1 items)",
    ]
    path = report.write("counting", rows, Counting().report(good(rows)), tmp_path)
    assert "What could not be measured" in path.read_text()
    assert "number 2 cannot be said" in path.read_text()
    later = Parrot()
    again = ask(tmp_path, later)
    assert later.asked == ["number 2", "number 4"]
    assert [(row.facts["number"], row.failed) for row in again] == [(n, False) for n in range(6)]
    assert not any(row.failed for row in ask(tmp_path, Parrot(silent=["number 2"])))


def test_what_failed_for_one_reason_is_one_line(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot(silent=["number 2"]))
    assert failures([*rows, *rows]) == ["parrot: It is silent: number 2 cannot be said. (2 items)"]


def test_each_subject_is_freed_before_the_next_is_asked(tmp_path: Path) -> None:
    one, two = Parrot("one"), Parrot("two")
    order = []
    two.answer = lambda asked: order.append(one.closed) or asked.wanted  # type: ignore
    ask(tmp_path, one, two)
    assert order == [1] * 6 and two.closed == 1


def test_the_report_says_who_was_asked_with_what_and_when(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot("one", "abc"), Parrot("two"))
    rows = [replace(row, at=0.0 if row.model == "one" else 2e9) for row in rows]
    text = report.write("counting: can it count?", rows, [], tmp_path).read_text()
    assert text.startswith("# counting: can it count?")
    assert "| one |  | abc | 6 | parrot 1.0 |" in text
    assert "1970-01-01 to 2033-05-1" in text and rows[0].machine in text


def test_a_table_is_markdown_with_columns_of_one_width() -> None:
    lines = report.table(Table("", ["who", "n"], [["a|b", "1"], ["somebody\nelse", "1000000"]]))
    assert len({len(line) for line in lines}) == 1
    assert "a\\|b" in lines[2] and "somebody else" in lines[3]
    assert set(lines[1]) == {"|", "-", ":"}


def test_a_heading_a_paragraph_and_a_picture_are_lines() -> None:
    assert report.text(Words("Noise", "It hurts.")) == ["## Noise", "", "It hurts."]
    plot = Plot("noise", "Noise", "dB", "WER", {})
    assert report.text(plot) == ["![Noise](noise.png)"]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_plot_is_drawn_with_its_lines(tmp_path: Path, share: bool, logarithmic: bool) -> None:
    lines = {
        name: [
            (x, statistics.Estimate(y / 10, y / 10 - 0.05, y / 10 + 0.05, 9))
            for x, y in ((256, 2), (4096, n))
        ]
        for n, name in ((5, "one"), (8, "two"))
    }
    plot = Plot("p", "Title", "tokens", "recall", lines, logarithmic, share)
    report.draw(plot, tmp_path / "p.png")
    report.draw(replace(plot, lines={}), tmp_path / "empty.png")
    drawn, empty = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("p", "empty")
    )
    coloured = [int((np.ptp(picture, axis=2) > 60).sum()) for picture in (drawn, empty)]
    assert coloured[0] > 2000 and coloured[1] == 0


# --- scores


def rows_of(pairs: Sequence[tuple[str, str]], model: str = "m") -> list[Row]:
    return [
        Row("q", f"i{n}", {"kind": n % 2}, model, "", "1", scores.score(wanted, given), 0.0, 0.0)
        for n, (wanted, given) in enumerate(pairs)
    ]


def good(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row.failed]


def test_a_score_counts_edits_of_characters_and_words() -> None:
    found = scores.score("one two  three", "one too three four")
    assert found["wanted"] == "one two  three" and not found["exact"]
    assert (found["character_edits"], found["characters"]) == (1 + len(" four"), 13)
    assert (found["word_edits"], found["words"]) == (2, 3)


def test_white_space_does_not_count_but_the_normalizer_decides() -> None:
    assert scores.score(" a\n b ", "a b")["exact"]
    assert not scores.score("A", "a")["exact"]
    assert scores.score("A", "a", str.lower)["exact"]


def test_nothing_said_is_all_wrong_and_error_rates_are_over_all_characters() -> None:
    rows = rows_of([("abcd", ""), ("ab", "ab")])
    assert scores.accuracy(rows).value == 0.5
    assert scores.character_error_rate(rows).value == pytest.approx(4 / 6)
    assert scores.word_error_rate(rows).value == 0.5


def test_what_should_be_silent_and_is_not_counts_every_word() -> None:
    found = scores.score("", "a b c")
    assert (found["word_edits"], found["words"], found["exact"]) == (3, 0, False)
    assert scores.score("", "")["exact"]


@settings(deadline=None, max_examples=50)
@given(count=st.integers(2, 40))
def test_shuffled_answers_are_never_those_to_the_same_item(count: int) -> None:
    rows = rows_of([(f"item {n}", f"item {n}") for n in range(count)])
    chance = scores.shuffled(rows)
    assert scores.accuracy(rows).value == 1 and scores.accuracy(chance).value == 0
    assert sorted(row.measured["given"] for row in chance) == sorted(
        f"item {n}" for n in range(count)
    )
    assert scores.shuffled(rows[:1]) == []  # alone, it would be beside itself


def test_chance_is_right_where_right_answers_are_alike() -> None:
    generator = random.Random(0)
    rows = rows_of([(answer, answer) for answer in generator.choices("ab", k=400)])
    chance = scores.accuracy(scores.shuffled(rows))
    assert chance.low < 0.5 < chance.high


def test_groups_go_by_facts_and_leave_out_what_failed() -> None:
    rows = rows_of([("a", "a")] * 5)
    rows[0] = replace(rows[0], measured={"failed": "no"})
    found = scores.groups(rows, "kind")
    assert {key: len(of) for key, of in found.items()} == {(1,): 2, (0,): 2}
    assert scores.groups(rows, "kind", "unknown") == {}


def test_subjects_are_compared_on_the_items_that_both_were_asked() -> None:
    better = rows_of([("a", "a")] * 40, "better")
    worse = rows_of([("a", "a" if n % 2 else "b") for n in range(60)], "worse")
    table = scores.differences([*better, *worse], "t", lambda measured: float(measured["exact"]))
    assert table is not None
    ((pair, items, difference, p),) = table.rows
    assert (pair, items, p) == ("better - worse", "40", "< 0.001")
    assert difference.startswith("+0.500 [+0.")
    assert scores.differences(better, "t", lambda measured: 0.0) is None


# --- figures with intervals


def test_a_share_has_the_interval_of_wilson() -> None:
    # the closed form, E. B. Wilson, 1927, with z of the normal distribution at 0.975
    z = 1.959963984540054
    for hits, n in ((0, 10), (8, 10), (50, 100), (200, 200)):
        share = hits / n
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        found = statistics.share([True] * hits + [False] * (n - hits))
        assert (found.value, found.n) == (share, n)
        assert found.low == pytest.approx(middle - half, abs=1e-9)
        assert found.high == pytest.approx(middle + half, abs=1e-9)


def coverage(truth: float, draw: Any, estimate: Any, times: int = 200) -> float:
    """How often an interval holds the truth."""
    generator = np.random.default_rng(0)
    found = [estimate(draw(generator)) for _ in range(times)]
    return sum(one.low <= truth <= one.high for one in found) / times


def test_intervals_hold_the_truth_about_as_often_as_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 400)
    shares = coverage(0.8, lambda g: list(g.random(60) < 0.8), statistics.share)
    means = coverage(2.0, lambda g: g.exponential(2.0, 60), statistics.mean)

    def edits(generator: np.random.Generator) -> tuple[Any, Any]:
        length = generator.integers(5, 50, 60)
        return generator.binomial(length, 0.1), length

    ratios = coverage(0.1, edits, lambda drawn: statistics.ratio(*drawn))
    # 3 standard deviations of 200 tries at 0.95 are 0.046; the bootstrap is a little narrow
    assert all(0.88 <= found <= 0.995 for found in (shares, means, ratios))


def test_a_figure_without_spread_has_no_interval() -> None:
    assert statistics.mean([2.0, 2.0, 2.0]) == statistics.Estimate(2, 2, 2, 3)
    assert statistics.mean([1.5]) == statistics.Estimate(1.5, 1.5, 1.5, 1)
    assert statistics.ratio([1, 2], [10, 20]).low == pytest.approx(0.1)


def test_items_of_no_weight_change_no_interval() -> None:
    found = statistics.ratio([3, 0, 1, 0], [4, 0, 5, 0])
    few = statistics.ratio([3, 1], [4, 5])
    assert (found.value, found.low, found.high) == (few.value, few.low, few.high)
    assert few.low < few.value < few.high


def test_the_same_data_give_the_same_interval() -> None:
    values = np.random.default_rng(1).random(50)
    assert statistics.mean(values) == statistics.mean(values)


def test_an_estimate_is_written_with_its_interval() -> None:
    assert f"{statistics.Estimate(0.91, 0.884, 0.938, 9):.2f}" == "0.91 [0.88, 0.94]"
    assert f"{statistics.Estimate(0.5, 0.25, 0.75, 9)}" == "0.500 [0.250, 0.750]"


def test_a_difference_is_found_where_there_is_one_and_only_there() -> None:
    generator = np.random.default_rng(3)
    hard = generator.normal(0, 5, 80)  # items differ far more than models do
    ours, same = hard + generator.normal(0, 0.5, 80), hard + generator.normal(0, 0.5, 80)
    found = statistics.paired(ours + 0.4, same)
    assert found.p < 0.01 and 0 < found.estimate.low < 0.4 < found.estimate.high
    none = statistics.paired(ours, same)
    assert none.p > 0.05 and none.estimate.low < 0 < none.estimate.high


def test_equal_models_do_not_differ() -> None:
    found = statistics.paired([1, 0, 1], [1, 0, 1])
    assert (found.p, found.estimate.value) == (1.0, 0.0)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = ask(tmp_path, Parrot(silent=["number 1"], wrong=["number 3"]))
    assert told(read(tmp_path / RESULTS)) == told(rows)
    assert read(tmp_path / "nothing.jsonl") == []
