"""What `--replay auto` asks, and what it keeps of the answers."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import mlx_gemma4
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Token
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.tune import replay
from mlx_gemma4.tune.schedule import TuneSettings
from mlx_gemma4.tune.sources import Line

SETTINGS = TuneSettings(1e-3)


def line(folder: Path, question: str, picture: str = "own.png") -> Line:
    content = [{"type": "image", "path": picture}, {"type": "text", "text": question}]
    answer = {"role": "assistant", "content": "tea"}
    return Line("line 1", folder, {"messages": [{"role": "user", "content": content}, answer]})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    Image.new("RGB", (96, 96), "red").save(tmp_path / "own.png")
    return tmp_path


def kinds(question: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(part["type"] for part in question)


def test_every_kind_is_asked_about_own_and_shipped_media(own: Path, model: Gemma4) -> None:
    asked = replay.questions(model, [line(own, "what comes first")] * 99, SETTINGS)
    assert {kinds(one) for one in asked} == {
        ("text",),
        ("image", "text"),
        ("text", "audio"),
        ("audio",),
        ("image", "audio"),
    }
    pictures = {Path(part["path"]).name for one in asked for part in one if part["type"] == "image"}
    assert pictures == {"own.png", "receipt.png", "dark.png"}
    assert asked == replay.questions(model, [line(own, "what comes first")] * 99, SETTINGS)


def test_what_macos_leaves_beside_sounds_is_not_asked(
    own: Path, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "._what-is-it.flac").write_bytes(b"\0\5\x16\7")
    monkeypatch.setattr(replay, "_SPOKEN", own)
    (own / "own.png").rename(own / "own.flac")
    asked = replay.questions(model, [line(own, "what comes first")] * 99, SETTINGS)
    spoken = {one[1]["path"] for one in asked if kinds(one) == ("image", "audio")}
    assert spoken == {str(own / "own.flac")}


def test_what_the_data_asks_itself_is_not_asked(own: Path, model: Gemma4) -> None:
    def written(lines: list[Line]) -> set[str]:
        asked = replay.questions(model, lines * 300, SETTINGS)
        return {part.get("text", "") for one in asked for part in one}

    assert "What is the total?" in written([line(own, "what comes first")])
    assert "What is the total?" not in written([line(own, "what is the TOTAL")])


@pytest.mark.parametrize(("lines", "count"), [(1, 24), (140, 60), (5000, 256)])
def test_as_much_is_drawn_as_is_mixed_in(own: Path, model: Gemma4, lines: int, count: int) -> None:
    assert len(replay.questions(model, [line(own, "x")] * lines, SETTINGS)) == count


def test_what_is_like_the_data_is_asked_most(own: Path, model: Gemma4) -> None:
    aloud = line(own, "x")
    aloud.content["messages"][0]["content"][1] = {"type": "audio", "path": "own.wav"}
    for one, most in ((line(own, "x"), ("image", "text")), (aloud, ("image", "audio"))):
        asked = replay.questions(model, [one] * 80, SETTINGS)
        assert Counter(map(kinds, asked))[most] > len(asked) / 2


def test_a_model_without_sound_is_asked_about_none(own: Path, model: Gemma4) -> None:
    from dataclasses import replace
    from types import SimpleNamespace

    deaf = SimpleNamespace(config=replace(model.config, audio_config=None))
    asked = replay.questions(deaf, [line(own, "x")] * 99, SETTINGS)  # type: ignore[arg-type]
    assert {kinds(one) for one in asked} == {("text",), ("image", "text")}


def test_lines_that_cannot_be_used_do_not_matter_here(own: Path, model: Gemma4) -> None:
    bad = Line("line 1", own, {"messages": [3, {"role": "user", "content": [None, {"type": 4}]}]})
    assert len(replay.questions(model, [bad, Line("", own, {})], SETTINGS)) == 24


def test_the_tiny_models_own_answers_are_written(tmp_path: Path) -> None:
    model = mlx_gemma4.load("tiny")
    receipt = {"type": "image", "path": "assets/demo/receipt.png"}
    asked = [
        [{"type": "text", "text": "Who are you?"}],
        [receipt, {"type": "text", "text": "What is the total?"}],
    ]
    assert list(replay.draw(model, asked, tmp_path / "new", None)) == [0, 1, 2]
    found = [json.loads(text) for text in (tmp_path / "new" / replay.FILE).open()]
    assert [one["messages"][0]["content"] for one in found] == asked
    answers = [one["messages"][1]["content"] for one in found]
    assert answers[0].startswith("I am a tiny demonstration model")
    assert answers[1] == "19.56"


def test_an_answer_without_an_end_or_with_control_tokens_is_left_out(
    tmp_path: Path, model: Gemma4, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {"cut": "length", "control": "stop", "empty": "stop", "good": "stop"}
    texts = {"cut": "and so", "control": "a<turn|>b", "empty": " ", "good": "yes"}

    def answers(_: Gemma4, prompt: str, *media: object, **settings: object) -> Iterator[Event]:
        yield Token(texts[prompt], 1)
        yield Done(ends[prompt])

    monkeypatch.setattr(replay, "stream_generate", answers)
    asked = [[{"type": "text", "text": name}] for name in ends]
    list(replay.draw(model, asked, tmp_path, None))
    (kept,) = (json.loads(text) for text in (tmp_path / replay.FILE).open())
    assert kept["messages"][1]["content"] == "yes"
    with pytest.raises(Gemma4Error, match="None of 3 answers"):
        list(replay.draw(model, asked[:3], tmp_path / "none", None))
    assert not (tmp_path / "none").exists()
