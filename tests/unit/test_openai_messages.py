"""Messages and settings that are something else are named, whatever they hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlx_gemma4 as g4
from mlx_gemma4.model.gemma4 import Gemma4

CALLED = {"role": "assistant", "content": "x", "tool_calls": 5}


def pictured(url: str | None) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"role": "user", "content": [part]}


def sounded(data: str | None) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"role": "user", "content": [part]}


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        (None, "not a list of objects"),
        (5, "not a list of objects"),
        (["hello"], "not a list of objects"),
        ({"role": "user", "content": "hello"}, "not a list of objects"),
        ([], "not from user or tool"),
        ([{"role": "user", "content": 5}], "content is a int"),
        ([{"role": "user", "content": [{"type": "sticker"}]}], "type 'sticker'"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "lacks 'text'"),
        ([pictured(None)], "lacks 'image_url'"),
        ([sounded(None)], "lacks 'input_audio'"),
        ([CALLED, {"role": "user", "content": "y"}], "tool_calls are a int"),
        ([pictured("data:image/png;base64,é===")], "not base64"),
        ([pictured("http://[x/a.png")], "no usable URL"),
        ([sounded("ñ")], "not base64"),
    ],
)
def test_malformed_messages_are_an_error_with_their_cause(
    model: Gemma4, messages: Any, cause: str
) -> None:
    with pytest.raises(g4.Gemma4Error, match=cause) as raised:
        list(g4.stream_generate(model, messages, max_tokens=2))
    assert raised.value.code == "messages_malformed"


@pytest.mark.parametrize("most", [0, -1, "4", 2.5])
def test_a_count_of_tokens_is_a_whole_number_from_one_on(model: Gemma4, most: Any) -> None:
    with pytest.raises(g4.Gemma4Error, match="max_tokens") as raised:
        g4.generate(model, "hello", max_tokens=most)
    assert raised.value.code == "setting_out_of_range"


def test_a_picture_may_be_named_by_a_path(model: Gemma4, tmp_path: Path) -> None:
    Image.new("RGB", (96, 96)).save(tmp_path / "a.png")
    for url in (tmp_path / "a.png", {"url": tmp_path / "a.png"}):
        asked = {"role": "user", "content": [{"type": "image_url", "image_url": url}]}
        assert list(g4.stream_generate(model, [asked], max_tokens=2))


def test_one_picture_may_be_given_without_a_list(model: Gemma4, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (96, 144, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file := tmp_path / "a.png")

    def tokens(images: Any) -> int:
        events = g4.stream_generate(model, "hello", images, max_tokens=2)
        return next(e.stats["prompt_tokens"] for e in events if isinstance(e, g4.Done))

    assert tokens(file) == tokens(str(file)) == tokens([file]) > tokens([])


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_model(name: str) -> None:
    with pytest.raises(g4.Gemma4Error) as raised:
        g4.load(name)
    assert raised.value.code == "model_unknown"
