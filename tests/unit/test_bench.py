import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlx_gemma4 import cli
from mlx_gemma4.cli import speed
from mlx_gemma4.cli.speed import bench, first_token, never_end, noise, spoken, words
from mlx_gemma4.cli.speed_result import Result, compared, differing, load, save, spread, table
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.run import table as lines
from mlx_gemma4.events import Done
from mlx_gemma4.hub import catalog
from mlx_gemma4.runtime.pace import SHORTEST
from mlx_gemma4.session.session import Session
from tests.configs import with_context

NAMES = {
    "prefill", "decode", "after text", "after a picture, 70 tokens", "after a picture, 140 tokens",
    "after 1 s of sound", "after 3 s of sound", "after 1 s of live sound",
    "after 3 s of live sound", "live hearing", "memory peak",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def less() -> Iterator[None]:
    """Smaller pictures and shorter sounds than the program's, to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "BUDGETS", (70, 140))
        patch.setattr(speed, "SECONDS", (1, 3))
        patch.setattr(speed, "PICTURE", (480, 320))
        patch.setattr(speed, "DECODED", 4)
        yield


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return bench(OurModel(str(folder)), [128, 64], rounds=2)


@pytest.fixture(scope="module")
def demonstration() -> OurModel:
    return OurModel(catalog.DEMONSTRATION)


def faster(result: Result, times: float, **changed: Any) -> Result:
    """The same, on a machine that is so many times as fast."""
    figures = []
    for figure in result.figures:
        factor = times if figure.unit in ("tok/s", "x speech") else 1 / times
        figures.append(replace(figure, values=[factor * value for value in figure.values]))
    return replace(result, figures=figures, **changed)


def test_every_figure_is_measured_once_a_round_at_each_context(result: Result) -> None:
    measured = {(figure.name, figure.context): figure.values for figure in result.figures}
    assert set(measured) == {(name, context) for name in NAMES for context in (64, 128)}
    assert {len(values) for values in measured.values()} == {2}
    assert all(value > 0 for values in measured.values() for value in values)


def test_the_result_says_what_it_depends_on(result: Result, folder: Path) -> None:
    assert (result.model, result.rounds) == (str(folder), 2)
    assert result.revision == OurModel(str(folder)).revision
    assert result.versions["mlx"] and "GB" in result.around["machine"]
    assert result.around["activations"] == "float32"
    assert result.around["weights, GB"] < result.around["process's peak, GB"]


def test_what_has_no_room_after_a_context_is_left_out(folder: Path) -> None:
    model = OurModel(str(folder))
    model.model.config = with_context(model.model.config, 370)
    small = bench(model, [64, 160], rounds=1)
    names = {figure.name for figure in small.figures if figure.context == 160}
    assert names == NAMES - {"after a picture, 140 tokens"}
    assert "no room" in next(line for line in lines(table(small)) if " 140 tokens" in line)


@pytest.mark.parametrize("bits", [None, 8])
def test_the_conversations_keep_their_rows_as_was_asked(
    folder: Path, bits: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Watched(Session):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            asked.append(settings["kv_bits"])
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(speed, "Session", Watched)
    measured = bench(OurModel(str(folder)), [64], rounds=1, kv_bits=bits)
    assert measured.asked["kv_bits"] == bits
    assert asked == [bits, bits]  # once to warm up


@pytest.mark.parametrize("contexts", [[4096], [64, 10], [-1]])
def test_a_context_that_the_model_has_not_is_an_error(folder: Path, contexts: list[int]) -> None:
    with pytest.raises(Gemma4Error, match="context is out of range"):
        bench(OurModel(str(folder)), contexts)


def test_an_answer_that_may_not_end_is_as_long_as_was_asked(demonstration: OurModel) -> None:
    def reasons() -> list[str]:
        told = []
        for seed in range(3):
            session = Session(demonstration.model, tokenizer=demonstration.tokenizer)
            session.add_text("what is the total?")
            *_, done = session.reply(40, temperature=1.0, seed=seed)
            assert isinstance(done, Done)
            told.append(done.reason)
        return told

    assert "stop" in reasons()
    never_end(demonstration.model, demonstration.tokenizer)
    assert set(reasons()) == {"length"}


@pytest.mark.parametrize("count", [32, 500, 2000])
def test_words_are_plain_text_of_about_so_many_tokens(demonstration: OurModel, count: int) -> None:
    text = words(demonstration.tokenizer, count)
    ids = demonstration.tokenizer.encode(text)
    assert abs(len(ids) - count) <= 2
    assert not {*ids} & {*demonstration.tokenizer.controls.values()}
    assert len({*text.split()}) > 5
    assert text == words(demonstration.tokenizer, count)
    assert text != words(demonstration.tokenizer, count, seed=1)


class Listener:
    """Notes what it is given to hear."""

    def __init__(self) -> None:
        self.heard: list[NDArray[np.float32]] = []

    def hear(self, frames: NDArray[np.float32]) -> None:
        self.heard.append(frames)


@settings(deadline=None)
@given(count=st.integers(1, 200))
def test_all_frames_are_heard_in_order_but_for_a_last_chunk(count: int) -> None:
    listener, frames = Listener(), noise(count)
    chunks, rest = spoken(listener, frames)  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate([*listener.heard, rest]), frames)
    assert len(rest) == min(count, SHORTEST)
    assert [len(chunk) for chunk in listener.heard[1:]] == [SHORTEST] * (len(chunks) - 1)


def test_what_was_heard_while_it_was_spoken_is_not_read_again(demonstration: OurModel) -> None:
    session = Session(demonstration.model, tokenizer=demonstration.tokenizer)
    _, rest = spoken(session, noise(300))
    session.hold(rest)
    *_, done = session.reply(1, temperature=0.0)
    assert isinstance(done, Done)
    assert done.stats["prompt_tokens"] > 300
    assert done.stats["new_prompt_tokens"] < 2 * SHORTEST


def test_the_time_to_the_first_token_counts_what_giving_takes(
    demonstration: OurModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, late = itertools.count(), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1000 + late[0])
    session = Session(demonstration.model, tokenizer=demonstration.tokenizer)

    def slowly(session: Session) -> None:
        session.add_text("hello")
        late[0] += 100

    assert 100 < first_token(session, slowly) < 110


def test_a_result_is_read_as_it_was_written(result: Result, tmp_path: Path) -> None:
    save(result, tmp_path / "new" / "a.json")
    assert load(tmp_path / "new" / "a.json") == result


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"form": "gemma4 bench 0"}', '{"form": 1}'])
def test_another_file_is_no_result(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(Gemma4Error, match="not usable"):
        load(tmp_path / "a.json")


@pytest.mark.parametrize(
    "damage",
    [{"values": []}, {"values": ["1"]}, {"values": [0.0]}, {"context": "64"}, {"asked": []}],
)
def test_a_damaged_result_is_no_result(
    result: Result, tmp_path: Path, damage: dict[str, Any]
) -> None:
    save(result, file := tmp_path / "a.json")
    content = json.loads(file.read_text("utf-8"))
    (content if "asked" in damage else content["figures"][0]).update(damage)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Gemma4Error, match="not usable"):
        load(file)


def test_a_result_beside_itself_is_neither_better_nor_worse(result: Result) -> None:
    lines = compared(result, result).rows
    assert len(lines) == len(result.figures)
    assert {tuple(line[-2:]) for line in lines} == {("1.00", "-")}
    assert differing(result, result).rows == []


def test_a_machine_that_is_ten_times_as_fast_is_better_in_everything(result: Result) -> None:
    # its own rounds may be further apart than that on a busy machine
    figures = [replace(figure, values=[1.0, 1.1]) for figure in result.figures]
    result = replace(result, figures=figures)
    beside = faster(result, 10, around={**result.around, "machine": "another"})
    lines = compared(result, beside).rows
    assert {line[-1] for line in lines} == {"B"}
    assert {line[2]: line[-2] for line in lines} == {
        "tok/s": "10.00", "x speech": "10.00", "s": "0.10", "GB": "0.10",
    }  # fmt: skip
    assert {line[-1] for line in compared(beside, result).rows} == {"A"}
    assert ["machine", str(result.around["machine"]), "another"] in differing(result, beside).rows


def test_nobody_is_better_where_the_rounds_overlap(result: Result) -> None:
    one = replace(result.figures[0], values=[1.0, 3.0])
    other = replace(one, values=[2.0, 4.0])
    a, b = replace(result, figures=[one]), replace(result, figures=[other])
    assert compared(a, b).rows[0][-2:] == ["1.50", "-"]


def test_the_same_weights_under_another_name_compare(result: Result) -> None:
    compared(result, replace(result, model="elsewhere"))


def test_another_revision_of_a_model_compares_and_is_told(result: Result) -> None:
    packaged = replace(result, package="tiny")
    beside = replace(packaged, model="/a/folder", revision="0123456789ab")
    compared(packaged, beside)
    assert ["revision", result.revision, "0123456789ab"] in differing(packaged, beside).rows


@pytest.mark.parametrize(
    "changed",
    [{"model": "another"}, {"package": "another"}, {"recipe": "8bit"}],
)
def test_other_models_do_not_compare(result: Result, changed: dict[str, str]) -> None:
    with pytest.raises(Gemma4Error, match="different models"):
        compared(result, replace(result, revision="0123456789ab", **changed))


def test_other_settings_do_not_compare(result: Result) -> None:
    beside = replace(result, asked={**result.asked, "kv_bits": 8})
    with pytest.raises(Gemma4Error, match="not measured alike") as caught:
        compared(result, beside)
    assert "kv_bits is None here and 8 there" in caught.value.cause


def test_only_contexts_that_both_have_compare(result: Result) -> None:
    short, long = (
        replace(result, figures=[f for f in result.figures if f.context == c]) for c in (64, 128)
    )
    assert {line[1] for line in compared(result, long).rows} == {"128"}
    with pytest.raises(Gemma4Error, match="nothing in common"):
        compared(short, long)


def test_a_spread_is_the_median_with_the_ends() -> None:
    assert spread([3.0, 1.0, 2.5]) == "2.5 (1 to 3)"
    assert spread([2.0, 2.0], ".2f") == "2.00"


def test_the_command_prints_a_table_and_writes_what_it_compares(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file in files:
        chosen = ["--model", str(folder), "--contexts", "64", "--rounds", "1"]
        assert cli.main(["bench", *chosen, "--json", file]) == 0
        out = capsys.readouterr().out
        assert all(f"| {name} " in out for name in NAMES)
        assert json.loads(Path(file).read_text())["model"] == str(folder)
    assert cli.main(["bench", "--compare", *files]) == 0
    out = capsys.readouterr().out
    assert f"A: {files[0]}" in out
    assert "B / A" in out and out.count("| after ") == 7


def test_the_command_names_a_file_by_the_model_and_the_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--model", str(folder), "--contexts", "64", "--rounds", "1"]) == 0
    (file,) = (tmp_path / "out" / "bench").iterdir()
    assert folder.name in file.name and load(file).rounds == 1


def test_without_model_what_get_brought_is_measured_and_nothing_else_named(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(catalog, "default", lambda: str(folder))
    file = tmp_path / "a.json"
    assert cli.main(["bench", "--contexts", "64", "--rounds", "1", "--json", str(file)]) == 0
    assert load(file).model == str(folder)
    assert "demonstration" not in capsys.readouterr().err


def test_nothing_is_measured_where_the_result_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").touch()
    monkeypatch.setattr(speed, "bench", lambda *_: pytest.fail("it was measured"))
    assert cli.main(["bench", "--contexts", "64", "--rounds", "1"]) == 2
    assert "out is a file." in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_printed(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any) -> Result:
        (tmp_path / "new").touch()
        return result

    monkeypatch.setattr(speed, "bench", full)
    assert cli.main(["bench", "--json", str(tmp_path / "new" / "deep" / "a.json")]) == 2
    printed = capsys.readouterr()
    assert "| decode " in printed.out and "The folder cannot be written" in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "a.json"], "Two results are compared"),
        (["--compare", "a.json", "b.json"], "cannot be read"),
        (["--model", "no/such/model"], "Error:"),
        (["--kv-bits", "3"], "not understood"),
        (["--draft", "--kv-bits", "8"], "--draft takes no --contexts"),
        (["--draft", "--contexts", "64"], "--draft takes no --contexts"),
        (["--draft", "--rounds", "0"], "--rounds is out of range"),
        (["--rounds", "0"], "--rounds is out of range"),
        (["--draft", "--drafter", "no/such/drafter"], "Error:"),
    ],
)
def test_what_cannot_be_done_is_told_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err
