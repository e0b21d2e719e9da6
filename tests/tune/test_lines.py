"""What a line may hold, what is learned of it, and how each way of being wrong is reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.sound_window import DAMAGED
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.tune.data import Data, Writer, check
from mlx_gemma4.tune.sources import lines_of
from mlx_gemma4.tune.summary import contents
from tests.unit.test_video import damage, film

ASK = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "yes"}
DEEP = {"name": "look", "arguments": '{"a":' * 400 + "1" + "}" * 400}
CALL = {"id": "c1", "function": {"name": "look", "arguments": '{"at": 3}'}}


@pytest.fixture
def media(tmp_path: Path) -> Path:
    Image.new("RGB", (96, 96), "red").save(tmp_path / "red.png")
    soundfile.write(tmp_path / "short.wav", np.full(6400, 0.1, np.float32), 16000)
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 40, np.float32), 16000)
    broken = np.full(6400, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", broken, 16000, subtype="FLOAT")
    (tmp_path / "cut.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(folder)


@pytest.fixture
def read(model: Gemma4, tokenizer: Tokenizer) -> Callable[..., Data]:
    def read(path: Path, longest: int = 4096) -> Data:
        writer = Writer(model.config, tokenizer, 70, longest)
        *_, (_, data) = check(lines_of(path, "transcribe"), writer)
        return data

    return read


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "data.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def learned(data: Data, tokenizer: Tokenizer, line: int = 0) -> list[str]:
    """Each answer of a line as text, with the token that ends it."""
    names = {number: name for name, number in tokenizer.controls.items()}
    (example,) = data.examples(line)
    ids = example.prompt.token_ids
    return [
        tokenizer.decode(ids[start : stop - 1]) + names[ids[stop - 1]]
        for start, stop in example.answers
    ]


def parts(*of: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(of)}, ANSWER]}


def test_the_answers_and_what_ends_them_are_learned_and_nothing_else(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    asked = [
        {"role": "system", "content": "be brief"},
        ASK,
        ANSWER,
        ASK,
        ANSWER | {"content": "no"},
    ]
    data = read(written(media, {"messages": asked}))
    assert learned(data, tokenizer) == ["yes<turn|>", "no<turn|>"]
    assert (
        data.figures[0].answer_tokens == len(tokenizer.encode("yes") + tokenizer.encode("no")) + 2
    )


def test_the_row_before_an_id_is_that_which_predicts_it(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    (example,) = read(written(media, {"messages": [ASK, ANSWER]})).examples(0)
    ids = example.prompt.token_ids
    header = tokenizer.encode("<|turn>model\n", special=True)
    first = int(example.targets[0])
    assert ids[first - len(header) : first] == header


def test_pictures_sounds_and_tools_are_read(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    line = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "path": "red.png"},
                    {"type": "text", "text": "what is it"},
                    {"type": "audio", "path": "short.wav"},
                ],
            },
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "red"},
            ANSWER,
        ],
        "tools": [{"type": "function", "function": {"name": "look"}}],
    }
    data = read(written(media, line))
    figures = data.figures[0]
    assert (figures.pictures, round(figures.seconds, 2)) == (1, 0.4)
    # the answer goes on in the turn that called, so the whole is one example
    assert learned(data, tokenizer)[-1] == "yes<turn|>"
    assert learned(data, tokenizer)[0].endswith("<|tool_response>")


def test_a_folder_of_pictures_with_answers_is_read(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    (media / "answers.csv").write_text('file,question,answer\nred.png,"which, colour",red\n')
    data = read(media)
    assert (data.figures[0].pictures, learned(data, tokenizer)) == (1, ["red<turn|>"])


def test_a_folder_of_sounds_with_transcripts_is_read(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    for name in ("long", "nan"):
        (media / f"{name}.wav").unlink()
    (media / "short.txt").write_text("hello\n")
    assert learned(read(media), tokenizer) == ["hello<turn|>"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{oops", "not JSON"),
        ('{"messages": [], "x": NaN}', "NaN"),
        ("[1]", "a list"),
        (f'{{"messages": {"[" * 99}{"]" * 99}}}', "nested more than 64 levels"),
        ({}, 'no "messages"'),
        ({"messages": "hi"}, 'no "messages"'),
        ({"messages": []}, "no answer"),
        ({"messages": [ASK]}, "no answer"),
        ({"messages": [ASK, ANSWER], "weight": 2}, "'weight'"),
        ({"messages": [ASK, {"role": "assistant", "content": "  "}]}, "answer is empty"),
        ({"messages": [ASK, {"role": "assistant"}]}, "answer is empty"),
        ({"messages": [ANSWER]}, "from 'assistant'"),
        ({"messages": [ASK, ASK, ANSWER]}, "from 'user' after user"),
        ({"messages": [ASK, ANSWER, {"role": "system", "content": "x"}]}, "from 'system'"),
        ({"messages": [{"role": "bot", "content": "x"}, ANSWER]}, "from 'bot'"),
        ({"messages": [ASK | {"role": ["user"]}, ANSWER]}, "from ['user']"),
        ({"messages": [ASK, ANSWER | {"tool_calls": 5}]}, '"tool_calls" is no list'),
        (parts({"type": "image", "path": "."}), "a folder"),
        (parts({"type": "image", "path": "a" * 5000}), "aaa"),
        ({"messages": [ASK | {"content": 3}, ANSWER]}, "neither text nor a list"),
        ({"messages": [ASK | {"content": "a<turn|>b"}, ANSWER]}, "control token <turn|>"),
        ({"messages": [ASK, {"role": "assistant", "tool_calls": [{}]}]}, "tool call"),
        (
            {"messages": [ASK, {"role": "assistant", "tool_calls": [{"function": DEEP}]}]},
            "nested too deeply",
        ),
        ({"messages": [ASK, ANSWER], "tools": [{"name": "f"}]}, "tools"),
        (parts({"type": "picture"}), "A part is"),
        (parts({"type": "image", "path": "gone.png"}), "gone.png"),
        (parts({"type": "image", "path": "a\0b"}), "A part is"),
        (parts({"type": "image", "path": "~nobody/b.png"}), "~nobody/b.png"),
        (
            {"messages": [ASK, ANSWER | {"content": [{"type": "image", "path": "red.png"}]}]},
            "An answer holds a medium",
        ),
        (parts({"type": "image", "path": "cut.png"}), "cut.png"),
        (parts({"type": "audio", "path": "long.wav"}), "40.0 s"),
        (parts({"type": "audio", "path": "nan.wav"}), "not numbers"),
        (parts({"type": "audio", "path": "red.png"}), "red.png"),
        (parts({"type": "text", "text": "word " * 9000}), "tokens, and 4,096 are the most"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_cause(
    media: Path, read: Callable[..., Data], line: Any, cause: str
) -> None:
    with pytest.raises(Gemma4Error) as caught:
        read(written(media, {"messages": [ASK, ANSWER]}, line))
    assert caught.value.code == "data_unusable"
    assert "data.jsonl, line 2" in caught.value.cause
    assert cause in caught.value.cause
    assert caught.value.remedy


def test_what_was_done_with_media_is_noted(media: Path, read: Callable[..., Data]) -> None:
    red, blue = (Image.new("RGB", (96, 96), colour) for colour in ("red", "blue"))
    red.save(media / "two.gif", save_all=True, append_images=[blue])
    spike = np.full(6400, 0.1, np.float32)
    spike[3000] = 30
    soundfile.write(media / "spike.wav", spike, 16000, subtype="FLOAT")
    damage(film(media / "a.mp4", 100), 50)
    kinds = {"two.gif": "image", "spike.wav": "audio", "a.mp4": "video", "red.png": "image"}
    asked = [{"type": kind, "path": name} for name, kind in kinds.items()]
    notes = contents({"data": read(written(media, *([parts(*asked)] * 8)))})[1:]
    assert notes[0] == "data.jsonl, line 1, message 1: two.gif: Only the first of 2 frames is used."
    assert "spike.wav: " in notes[1] and notes[2].endswith(f"a.mp4: {DAMAGED}")
    assert len(notes) == 21 and notes[-1] == "... and 4 more."


def test_text_may_hold_other_separators_of_lines(
    media: Path, read: Callable[..., Data], tokenizer: Tokenizer
) -> None:
    said = ANSWER | {"content": "yes\u2028yes\x85yes"}
    path = media / "data.jsonl"
    line = json.dumps({"messages": [ASK, said]}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{line}\r\n\r\n{line}".encode())
    assert len(read(path)) == 2


def test_all_lines_that_cannot_be_used_are_named_at_once(
    media: Path, read: Callable[..., Data]
) -> None:
    bad = {"messages": [ASK]}
    with pytest.raises(
        Gemma4Error, match=r"line 1.*2 more: data.jsonl, line 3; data.jsonl, line 4"
    ):
        read(written(media, bad, {"messages": [ASK, ANSWER]}, bad, bad))


def test_a_medium_without_weights_is_named(media: Path, folder: Path, tokenizer: Tokenizer) -> None:
    from dataclasses import replace

    from mlx_gemma4.model.config import load_config

    config = replace(load_config(folder), audio_config=None)
    lines = lines_of(written(media, parts({"type": "audio", "path": "short.wav"})), "")
    with pytest.raises(Gemma4Error, match="no weights for sound"):
        list(check(lines, Writer(config, tokenizer, 70, 4096)))


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("answers.csv", "picture,text\nred.png,x\n", "columns are picture, text"),
        ("answers.csv", "file,answer\nred.png,a,b\n", "line 2"),
        ("answers.csv", "file,answer\n", "no rows"),
        ("answers.csv", "file,answer\nred.png,\n", "answer is empty"),
    ],
)
def test_a_folder_that_cannot_be_used_is_reported(
    media: Path, read: Callable[..., Data], name: str, content: str, cause: str
) -> None:
    (media / name).write_text(content)
    with pytest.raises(Gemma4Error, match=cause):
        read(media)


def test_a_sound_without_its_words_is_reported(media: Path, read: Callable[..., Data]) -> None:
    with pytest.raises(Gemma4Error, match="no long.txt"):
        read(media)


def test_an_empty_folder_and_a_missing_file_are_reported(
    tmp_path: Path, read: Callable[..., Data]
) -> None:
    for source in (tmp_path, tmp_path / "gone.jsonl"):
        with pytest.raises(Gemma4Error, match="cannot be used"):
            read(source)
