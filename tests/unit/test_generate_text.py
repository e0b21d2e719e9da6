"""`generate` and `stream_generate`: a question, or messages as in OpenAI's chat completions."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import mlx_gemma4 as g4
from mlx_gemma4.chat.messages import ImagePart, TextPart, Turn
from mlx_gemma4.media.images import patches
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import openai_messages
from mlx_gemma4.session.session import Session

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (96, 144, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    noise = np.random.default_rng(2).standard_normal(16_000) * 0.1
    soundfile.write(tmp_path / "a.wav", noise, 16_000)
    return tmp_path / "a.wav"


def text(events: Any) -> str:
    return "".join(event.text for event in events if isinstance(event, g4.Token))


def replied(session: Session) -> str:
    return text(session.reply(12, temperature=0))


def uri(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def test_a_question_is_answered_as_a_session_answers_it(
    model: Gemma4, picture: Path, sound: Path
) -> None:
    session = g4.Session(model)
    session.add_text("what is it")
    session.add_image(picture)
    session.add_audio(soundfile.read(sound)[0], 16_000)
    expected = replied(session)
    answer = g4.generate(model, "what is it", images=[picture], audio=[sound], **GREEDY)
    assert answer == expected
    assert answer != g4.generate(model, "what is it", **GREEDY)


def test_messages_are_the_conversation_that_they_tell(model: Gemma4, picture: Path) -> None:
    said = (ImagePart(patches(picture, model.config.image_tokens)), TextPart("what is it"))
    turns = [Turn("user", said), Turn("model", (TextPart("a receipt"),))]
    session = g4.Session(model, system="be brief", turns=turns)
    session.add_text("and now?")
    expected = replied(session)
    messages = [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": uri(picture)}},
                {"type": "text", "text": "what is it"},
            ],
        },
        {"role": "assistant", "content": "a receipt"},
        {"role": "user", "content": "and now?"},
    ]
    *events, done = g4.stream_generate(model, messages, **GREEDY)
    assert isinstance(done, g4.Done)
    assert text(events) == expected


@pytest.mark.parametrize("spelling", ["data", "path", "file"])
def test_a_picture_comes_as_data_as_a_path_or_as_a_file_uri(
    model: Gemma4, picture: Path, spelling: str
) -> None:
    url = {"data": uri(picture), "path": str(picture), "file": picture.as_uri()}[spelling]
    part = {"type": "image_url", "image_url": {"url": url}}
    answer = text(g4.stream_generate(model, [{"role": "user", "content": [part]}], **GREEDY))
    assert answer == g4.generate(model, "", images=[picture], **GREEDY)


def test_a_sound_comes_as_base64(model: Gemma4, sound: Path) -> None:
    data = base64.b64encode(sound.read_bytes()).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = text(g4.stream_generate(model, [{"role": "user", "content": [part]}], **GREEDY))
    assert answer == g4.generate(model, "", audio=[sound], **GREEDY)


def test_a_setting_of_the_model_is_that_of_sessions_which_choose_none(model: Gemma4) -> None:
    model.draft = "lookup"
    try:
        assert g4.Session(model).cache.drafting.draft == "lookup"
        assert not g4.Session(model, draft="off").cache.drafting.draft
    finally:
        model.draft = "off"
    assert not g4.Session(model).cache.drafting.draft


def test_pictures_of_a_tool_stay_where_they_were_once_it_is_history(
    model: Gemma4, picture: Path
) -> None:
    shown = {"type": "image_url", "image_url": {"url": str(picture)}}
    texts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    calls = [{**call, "id": "c1"}, {**call, "id": "c2"}]
    returned = [
        {"role": "tool", "tool_call_id": "c1", "content": [shown, *texts]},
        {"role": "tool", "tool_call_id": "c2", "content": "three"},
    ]
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *returned,
    ]
    *_, first = g4.stream_generate(model, messages, max_tokens=1)
    history = openai_messages.turns([*messages, {"role": "user", "content": "and?"}], 280)
    assert [turn.role for turn in history] == ["user", "model", "tool", "user"]
    assert [result.response for result in history[2].parts] == ["one\ntwo", "three"]
    session = g4.Session(model, turns=history)
    *_, done = session.reply(1)
    assert isinstance(first, g4.Done) and isinstance(done, g4.Done)
    added = done.stats["prompt_tokens"] - first.stats["prompt_tokens"]
    assert 0 < added == len(session._tokenizer.encode("and?"))


def test_a_result_of_a_tool_follows_the_call_that_it_answers(model: Gemma4) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    asked = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]

    def answer(content: str, call_id: str = "c1") -> str:
        result = {"role": "tool", "tool_call_id": call_id, "content": content}
        return text(g4.stream_generate(model, [*asked, result], **GREEDY))

    assert answer("3") == answer("3")
    assert answer("3") != answer("five hundred and four")
    with pytest.raises(g4.Gemma4Error) as caught:
        answer("3", "c2")
    assert caught.value.code == "tool_call_unknown"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ({"role": "user", "content": [{"type": "video"}]}, "type 'video'"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "lacks 'image_url'"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://a/b"}]},
            "network",
        ),
        ({"role": "assistant", "content": "hello"}, "not from user or tool"),
    ],
)
def test_what_cannot_be_answered_is_an_error(
    model: Gemma4, message: dict[str, Any], cause: str
) -> None:
    with pytest.raises(g4.Gemma4Error, match=cause) as caught:
        list(g4.stream_generate(model, [message], **GREEDY))
    assert caught.value.code == "messages_malformed"


@pytest.mark.parametrize("kind", ["images", "audio", "videos"])
def test_media_of_another_type_are_refused_by_it(model: Gemma4, kind: str) -> None:
    with pytest.raises(g4.Gemma4Error, match="Its type is int"):
        g4.generate(model, "hello", **{kind: 3})


def test_the_package_shows_its_public_names_only() -> None:
    assert set(dir(g4)) == {*g4.__all__, "__version__"}
    assert {"load", "generate", "stream_generate", "Session", "Gemma4Error"} <= set(g4.__all__)
