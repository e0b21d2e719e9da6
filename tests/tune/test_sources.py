"""Files as spreadsheets, recorders and other systems write them; nothing of a folder is lost."""

from pathlib import Path

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.tune import state
from mlx_gemma4.tune.schedule import TuneSettings, batches
from mlx_gemma4.tune.sources import Line, lines_of
from mlx_gemma4.tune.summary import repeated


def exchange(line: Line) -> tuple[str, str]:
    question, answer = line.content["messages"]
    return question["content"][1]["text"], answer["content"]


@pytest.mark.parametrize(
    "table",
    [
        "file,question,answer\na.png,which,tea\n",
        "\ufefffile;question;answer\r\na.png;which;tea\r\n",
        "File\tQuestion \t Answer\na.png\twhich\ttea\n\n",
        'file,answer,question\n"a.png","tea","which"\n',
    ],
)
def test_a_table_is_read_with_any_separator_and_spelling_of_its_columns(
    tmp_path: Path, table: str
) -> None:
    (tmp_path / "answers.csv").write_bytes(table.encode())
    (line,) = lines_of(tmp_path, "")
    assert exchange(line) == ("which", "tea")


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ("file,answer,answer\na.png,tea,milk\n", "columns are file, answer, answer"),
        ('file,answer\na.png,"tea\nb.png,milk\n', "unexpected end"),
        ("file,answer\na.png," + "x" * 200_000, "field larger"),
        ("file,answer\na.png,th\udce9\n", "answers.csv: It is not UTF-8"),
    ],
)
def test_a_table_that_would_be_read_otherwise_than_meant_is_reported(
    tmp_path: Path, table: str, cause: str
) -> None:
    (tmp_path / "answers.csv").write_bytes(table.encode(errors="surrogateescape"))
    with pytest.raises(Gemma4Error, match=cause):
        lines_of(tmp_path, "")


def test_sounds_find_their_transcripts_whatever_the_letters_of_their_suffixes(
    tmp_path: Path,
) -> None:
    for name, text in (
        ("a.v1.WAV", ""),
        ("a.v1.txt", "\ufeffone\r\n"),
        ("b.wav", ""),
        ("._b.wav", ""),
        ("c.AIFF", ""),
        ("c.txt", "three"),
    ):
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "b.TXT").write_text("two")
    spoken = [line.content["messages"][1]["content"] for line in lines_of(tmp_path, "")]
    assert spoken == ["one", "two", "three"]


def test_a_transcript_without_a_sound_is_not_left_out_in_silence(tmp_path: Path) -> None:
    for name in ("a.wav", "a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(Gemma4Error, match=r"b\.txt: There is no sound"):
        lines_of(tmp_path, "")


def test_repeated_lines_and_held_out_ones_that_are_learned_are_reported() -> None:
    one, other = (Line("", Path(), {"messages": [{"content": text}]}) for text in "ab")
    assert repeated({"data": [one, other], "held_out": []}) == []
    told = repeated({"data": [one, one, other], "held_out": [other]})
    told = repeated({"data": [one, one, other], "held_out": [other]})
    assert told == ["data: 1 repeated line.", "held-out: 1 line learned from, too."]


def test_a_run_without_end_is_refused_before_its_steps_are_listed() -> None:
    settings = TuneSettings(rate=1e-3, steps=999_999, batch=999_999)
    with pytest.raises(Gemma4Error, match="more than 2,000,000"):
        batches(settings, [9], [])
    with pytest.raises(Gemma4Error, match="--seed is -1"):
        TuneSettings(rate=1e-3, seed=-1)


def test_only_a_medium_is_looked_for_at_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12")
    part = {"type": "text", "text": "which", "path": None}
    parts = [part, {"type": "image", "path": "a.png"}]
    tool = {"role": "tool", "content": [{"type": "image", "text": "tea"}]}
    content = {"messages": [{"role": "user", "content": parts}, tool]}
    before = state.digest([Line("line 1", tmp_path, content)])
    (tmp_path / "a.png").write_bytes(b"123")
    assert state.digest([Line("line 1", tmp_path, content)]) != before
