"""What is asked about speech: who hears what, how it is scored, and what the report has of it."""

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import scores
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.question import Asked, Choice, Item, Plot, Row, Table
from mlx_gemma4.evaluate.run import run, write
from mlx_gemma4.evaluate.sounds.sets import MAKERS
from mlx_gemma4.evaluate.speech import QUESTION, compare, compare_two, invented, who_said
from mlx_gemma4.evaluate.tiny import speech

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"
MADE = tuple(name for name in MAKERS if name not in ("human", "folder"))
pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


class Listener:
    """Somebody who knows what was said, and writes it down, or something else of a pool."""

    recipe = revision = ""
    versions: Mapping[str, str] = {}
    takes = frozenset({"text", "sound"})

    def __init__(self, name: str, pool: Sequence[str] = (), stop_at: int | None = None) -> None:
        self.name, self.pool, self.rng, self.stop_at = name, pool, random.Random(5), stop_at
        self.heard: list[Asked] = []

    def answer(self, asked: Asked) -> str:
        if len(self.heard) == self.stop_at:
            raise KeyboardInterrupt
        self.heard.append(asked)
        return self.rng.choice(self.pool) if self.pool else asked.wanted

    def close(self) -> None:
        pass


def items(choice: Choice) -> Sequence[Item]:
    return QUESTION.items(choice, Listener("nobody"))


def asked(item: Item) -> Asked:
    assert item.make is not None
    return item.make()


def held_out() -> dict[str, tuple[float, float]]:
    """The intervals of exact answers in the table in the tiny model's README."""
    names = {"1 to 6 spoken digits": "digits", "spoken command": "commands"}
    found = {}
    for line in (TINY / "README.md").read_text("utf-8").splitlines():
        name, _, full, *_ = [*(cell.strip() for cell in line.strip("|").split("|")), "", ""]
        if name in names:
            low, high = full[full.index("[") + 1 : full.index("]")].split(",")
            found[names[name]] = float(low), float(high)
    return found


def test_the_tiny_model_scores_what_its_own_table_says(tmp_path: Path) -> None:
    choice = Choice(limit=24, sets=("tiny",), tiny=True, work=tmp_path)
    rows = run(QUESTION, [OurModel("tiny")], choice, tmp_path)
    by_kind = scores.groups(rows, "kind")
    assert len(by_kind) == 2
    for (kind,), group in by_kind.items():
        found, (low, high) = scores.accuracy(group), held_out()[kind]
        assert found.low <= high and low <= found.high, f"{kind}: {found}"
    assert scores.word_error_rate(rows).low < 0.05


@pytest.mark.parametrize("tiny", [True, False])
def test_who_answers_at_random_scores_what_chance_does(tmp_path: Path, tiny: bool) -> None:
    choice = Choice(limit=12, sets=("clean",), tiny=tiny, work=tmp_path)
    pool = [asked(item).wanted for item in items(choice)]
    guesser, knower = Listener("guesser", pool), Listener("knower")
    rows = run(QUESTION, [guesser, knower], choice, tmp_path)
    guessed, known = ([row for row in rows if row.model == name] for name in ("guesser", "knower"))
    assert scores.word_error_rate(known).value == 0
    assert scores.word_error_rate(guessed).low > 0.6
    assert scores.accuracy(guessed).value < 0.3
    table = next(p for p in QUESTION.report(rows) if isinstance(p, Table) and "who" in p.heads)
    for line in table.rows:  # the right answers too are worth nothing beside other items
        assert float(line[-1].rstrip("%")) > 60


def test_the_relay_hears_sounds_after_text_as_if_nothing_came_before(tmp_path: Path) -> None:
    choice = Choice(limit=4, sets=("position",), tiny=True, work=tmp_path)
    model = OurModel("tiny")
    chosen = [i for i in QUESTION.items(choice, model) if i.facts["before"] in (0, 125)]
    right = {(item.facts["hearing"], item.facts["before"]): [] for item in chosen}  # type: dict[tuple[object, object], list[bool]]
    for item in chosen:
        where = item.facts["hearing"], item.facts["before"]
        right[where].append(QUESTION.measure(model, item)["exact"])
        words = asked(item).before
        assert abs(len(model.tokenizer.encode(words)) - int(str(where[1]))) <= 2
    assert sum(right["direct", 0]) >= 3
    assert right["relay", 0] == right["relay", 125] == right["direct", 0]


def test_all_who_are_asked_hear_the_same_samples(tmp_path: Path) -> None:
    choice = Choice(limit=1, sets=("noise", "two", "tiny"), work=tmp_path)
    one, other = Listener("one"), Listener("other")
    run(QUESTION, [one, other], choice, tmp_path)
    assert len(one.heard) == len(other.heard) > 7
    for mine, yours in zip(one.heard, other.heard, strict=True):
        np.testing.assert_array_equal(mine.sounds[0], yours.sounds[0])
        assert np.abs(mine.sounds[0]).max() > 0.1


def test_items_are_named_by_set_seed_text_voice_and_condition() -> None:
    first, again = (items(Choice(limit=3, sets=MADE)) for _ in range(2))
    other = items(Choice(limit=3, sets=MADE, seed=1))
    ids = [item.id for item in first]
    assert ids == [item.id for item in again] and len(set(ids)) == len(ids)
    assert not set(ids) & {item.id for item in other}
    fewer = {item.id for item in items(Choice(limit=2, sets=("noise", "voices", "silence")))}
    assert fewer < set(ids)
    assert {str(item.facts["set"]) for item in first[:40]} == set(MADE)  # a bit of each at first


def test_a_run_that_is_killed_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    choice = Choice(limit=2, sets=("speed", "silence"), tiny=True, work=tmp_path)
    pool = ["call tom", ""]
    whole = run(QUESTION, [Listener("it", pool)], choice, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(QUESTION, [Listener("it", pool, stop_at=5)], choice, tmp_path / "cut")
    rest = Listener("it", pool)
    rest.rng = random.Random(5)
    for _ in range(5):
        rest.rng.choice(pool)
    resumed = run(QUESTION, [rest], choice, tmp_path / "cut")
    assert len(rest.heard) == len(whole) - 5
    assert QUESTION.report(whole) == QUESTION.report(resumed)


def test_digits_are_a_word_each_however_they_are_written() -> None:
    for given in ("4071", "four zero seven one", "4 0 7 1", "Four, zero, seven, one."):
        found = compare("4071", given, "en")
        assert found["exact"] and found["words"] == 4, given
    assert compare("4071", "4 0 9 1 2", "en")["word_edits"] == 2
    assert compare("five five", "5 5", "en")["exact"]


def test_spelling_numbers_and_case_are_no_errors() -> None:
    assert compare("It's twenty past. Colour!", "it is 20 past color", "en")["exact"]
    assert compare("Straße, ça va?", "STRASSE ça va", "de")["word_edits"] == 1
    assert compare("Él habló.", "él habló", "es")["exact"]
    assert compare("...to leave the room...", "To leave the room.", "en")["exact"]


def test_two_people_are_scored_by_the_better_assignment() -> None:
    wanted = "the door is open\nwe ate all the bread"
    for given in (
        "We ate all the bread.\nThe door is open.",
        "Speaker 1: the door is open\nSpeaker 2: we ate all the bread",
        "Person A: we ate\nPerson B: the door is open\nPerson A: all the bread",
    ):
        assert compare_two(wanted, given, "en")["word_edits"] == 0, given
    alone = compare_two(wanted, "the door is open", "en")
    assert (alone["word_edits"], alone["words"]) == (5, 9)
    mixed = compare_two(wanted, "the door all the bread\nwe ate is open", "en")
    assert mixed["word_edits"] > 0 and not mixed["exact"]
    assert who_said("") == ("", "")


def test_loops_and_inserted_words_are_counted() -> None:
    assert compare("turn on the light", "turn on on the light", "en")["inserted"] == 1
    assert compare("call tom", "call tom " + "tom " * 9, "en")["loops"]
    assert compare("stop", "stop onionionionionion", "en")["loops"]
    assert not compare("111111", "one one one one one one", "en")["loops"]
    assert not compare("call tom", "call tom please call tom", "en")["loops"]
    assert invented("[silence] (no speech)")["invented"] == 0
    assert invented("Thank you. " * 6) | {"given": ""} == {
        "wanted": "", "given": "", "invented": 12, "loops": True,
    }  # fmt: skip


def test_the_report_has_each_set_with_intervals_and_its_curve(tmp_path: Path) -> None:
    choice = Choice(limit=2, sets=MADE, work=tmp_path)
    rows = [
        Row("speech", item.id, item.facts, name, "", "", measured(item, given, tmp_path), 1.0, 0.0)
        for item in items(choice)
        for name, given in (("one", "the door is open"), ("other", ""))
    ]
    parts = QUESTION.report(rows)
    page = write("what?", rows, parts, tmp_path).read_text("utf-8")
    plots = {part.file: part for part in parts if isinstance(part, Plot)}
    assert set(plots) == {f"words-{name}" for name in ("noise", "room", "speed", "two", "position")}
    assert [x for x, _ in plots["words-noise"].lines["one, babble"]] == [20, 10, 0]
    assert "in dB" in plots["words-noise"].x
    for file in plots:
        assert (tmp_path / f"{file}.png").is_file()
    for name in MADE:
        assert f"The set {name}" in page or name == "silence"
    assert "one - other" in page and "Where nobody speaks" in page


def measured(item: Item, given: str, folder: Path) -> dict[str, object]:
    """What `measure` would return for an answer; with no sound made."""
    if item.facts["set"] == "silence":
        return invented(given)
    two = item.facts["set"] == "two"
    return (compare_two if two else compare)("a b\nc d" if two else "a b", given, "en")


def test_a_machine_without_voices_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent() -> object:
        raise OSError("libespeak-ng.so.1: cannot open shared object file")

    monkeypatch.setattr(speech, "speaker", absent)
    with pytest.raises(Gemma4Error, match="espeak-ng") as caught:
        asked(items(Choice(limit=1, sets=("clean",), work=tmp_path))[0])
    assert "apt install espeak-ng" in caught.value.remedy
