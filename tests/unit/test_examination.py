"""The makers of the tiny model's examination: what they draw, and what counts as right."""

import random
import shutil

import numpy as np
import pytest

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.evaluate.tiny import words
from mlx_gemma4.hub import catalog
from tools.examination import ask, pages, reading, talk, talking
from tools.examination.ask import Result, item
from tools.examination.item import Item, Row, exactly, folded, listed, names
from tools.examination.table import reached, table
from tools.examination.talking import same_json
from tools.tiny.pages import PACKAGES

TINY = catalog.shipped("assets/tiny")
needs_fonts = pytest.mark.skipif(
    not all((pages.FOLDER / name).exists() for name in (*pages.USUAL, *pages.OTHERS)),
    reason=f"not installed: one of {PACKAGES}",
)
needs_voice = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def ink(image: object) -> tuple[int, int, int, int]:
    """The box of what is darker than half."""
    dark = np.argwhere(np.asarray(image).mean(-1) < 128)  # type: ignore[arg-type]
    (top, left), (bottom, right) = dark.min(0), dark.max(0)
    return int(left), int(top), int(right), int(bottom)


@needs_fonts
def test_lines_are_printed_in_their_cells() -> None:
    left, top, right, bottom = ink(pages.set_lines(["total       19.56"], pages.Print(rows=3)))
    assert 8 <= left <= 14 and 270 <= right <= 280
    assert 8 <= top and bottom <= 40


@needs_fonts
def test_a_margin_moves_the_text_and_keeps_its_size() -> None:
    plain = pages.Print(rows=3)
    wide = pages.margin(plain, random.Random(4))
    before, after = (ink(pages.set_lines(["tea"], how)) for how in (plain, wide))
    assert after[2] - after[0] == pytest.approx(before[2] - before[0], abs=1)
    assert after[1] - before[1] == pytest.approx(wide.margins[1], abs=1)


@needs_fonts
def test_a_page_that_is_turned_has_its_lines_on_a_slope() -> None:
    page = pages.set_lines(["-" * 17], pages.Print(rows=3, margins=(16, 8, 16, 8)))
    heights = []
    for part in (pages.turned(page, 2).crop(box) for box in ((24, 0, 64, 160), (240, 0, 280, 160))):
        _, top, _, bottom = ink(part)
        heights.append((top + bottom) / 2)
    slope = np.degrees(np.arctan2(heights[0] - heights[1], 216))
    assert slope == pytest.approx(2, abs=0.4)


@needs_fonts
def test_ink_and_paper_are_told_apart_in_every_colour() -> None:
    for seed in range(40):
        how = pages.coloured(pages.Print(), random.Random(seed))
        light = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in (how.ink, how.paper)]
        assert abs(light[0] - light[1]) >= 120


@needs_fonts
def test_the_price_that_is_asked_for_is_on_the_receipt_and_the_absent_article_is_not() -> None:
    for seed in range(30):
        here = reading.price(random.Random(seed)).exchanges[0]
        missing = reading.absent(random.Random(seed)).exchanges[0]
        assert float(here.answer) > 0
        assert missing.answer == talk.NOT_SHOWN
        assert here.drawing is not None and missing.drawing is not None


@needs_fonts
@needs_voice
def test_rows_that_are_paired_ask_the_same_of_the_same_speech() -> None:
    from tools.examination import listening

    rows = {row.name: row for row in listening.rows()}
    quiet = rows["... in quiet"]
    plain = rows[quiet.beside]
    for number in range(3):
        one, other = (item(row, number, 5).exchanges[0] for row in (plain, quiet))
        assert one.answer == other.answer and words.held_out(one.answer) or len(one.answer) < 3
        assert one.sound is not None and other.sound is not None
        assert len(other.sound) > len(one.sound)


@needs_fonts
@needs_voice
def test_every_row_of_talking_and_reading_has_items() -> None:
    for row in (*talking.rows(), *reading.rows()):
        assert all(item(row, number, 5).exchanges[-1].answer or row.invention for number in (0, 1))


def test_a_list_of_buttons_is_right_however_its_members_are_divided() -> None:
    assert listed("Cancel, OK", "Cancel and OK") and listed("Cancel, OK", "Cancel\nOK")
    assert not listed("Cancel, OK", "OK, Cancel") and not listed("Cancel, OK", "Cancel")


def test_answers_are_judged_by_what_they_say() -> None:
    assert folded("Delete file?", "delete  file?") and not folded("Delete file?", "Delete")
    assert names("first", "The first: 20.10.") and not names("first", "the first or the second")
    assert same_json('{"total": "1.20"}', '{"total":"1.20"}') and not same_json("{}", "{")
    assert talk.declines("I cannot help with that.") and not talk.declines("Paris")


def result(right: bool) -> Result:
    return Result("1", "1" if right else "2", right)


def test_a_row_reaches_its_target_by_its_share_of_right_answers() -> None:
    row = Row("prices", lambda rng: Item(()), 0.9)
    found = [result(True)] * 9 + [result(False)]
    assert reached(row, found, None) is True
    assert reached(row, [*found, result(False)], None) is False
    assert reached(Row("free", row.make), found, None) is None


def test_inventions_may_be_no_more_than_the_target() -> None:
    row = Row("inventions", lambda rng: Item(()), 0.05, invention=True)
    assert reached(row, [result(True)] * 19 + [result(False)], None) is True
    assert reached(row, [result(True)] * 9 + [result(False)], None) is False


def test_a_paired_row_reaches_its_target_unless_it_is_surely_worse() -> None:
    row = Row("in noise", lambda rng: Item(()), -0.03, beside="plain")
    plain = [result(True)] * 100
    assert reached(row, [result(True)] * 99 + [result(False)], plain) is True
    assert reached(row, [result(True)] * 60 + [result(False)] * 40, plain) is False


def test_the_table_says_which_targets_are_missed() -> None:
    row = Row("prices", lambda rng: Item(()), 0.9)
    results = {("full", "prices"): [result(False)] * 4, ("4bit", "prices"): [result(False)] * 4}
    lines = table([row], results, ["full", "4bit"])
    assert lines[0] == "| held-out items | n | full | 4bit | target |"
    assert lines[2].startswith("| prices | 4 | 0.000 [0.000, 0.490] |")
    assert "less full +0.000" in lines[2] and lines[2].endswith("| **missed:** at least 0.90 |")


def test_sentences_of_the_examination_are_in_small_letters_as_transcripts_are() -> None:
    assert all(text == text.lower() for text in talk.SENTENCES)
    assert len(set(talk.SENTENCES)) == len(talk.SENTENCES) >= 24


def test_no_wording_of_the_examination_is_practised() -> None:
    wordings = pytest.importorskip("tools.tiny.wordings")
    sentences = pytest.importorskip("tools.tiny.sentences")
    practised = {
        core.lower()
        for cores in (
            *sentences.CORES.values(),
            sentences.BEYOND,
            sentences.SELF,
            sentences.UNSHOWN,
        )
        for core in wordings.part(cores, False)
    }
    asked = {
        wording.lower()
        for group in (
            *talk.WORDINGS.values(),
            talk.ITEM,
            talk.OUTSIDE,
            talk.GREETINGS,
            talk.ABSENT_THINGS,
        )
        for wording in group
    }
    assert practised and not asked & practised


@needs_fonts
@pytest.mark.parametrize("name", ["white on black", "either of two", "who it is"])
def test_one_forward_finds_right_what_decoding_does(name: str) -> None:
    row = next(row for row in (*reading.rows(), *talking.rows()) if name in row.name)
    model, tokenizer = ask.load("full", TINY), Tokenizer.from_folder(TINY)
    for number in range(2):
        one = item(row, number, 7)
        wanted = one.exchanges[-1].answer
        decoded = ask.answer(model, one, len(tokenizer.encode(wanted)) + 16)
        assert ask.result(model, tokenizer, row, one).right == (row.judge or exactly)(
            wanted, decoded
        )
