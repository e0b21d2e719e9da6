import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.chat.tokenizer import CONTROLS, TextStream, Tokenizer
from mlx_gemma4.errors import Gemma4Error
from tests.unit.small_tokenizer import small_backend, small_tokenizer

TOKENIZER = small_tokenizer()
TEXTS = st.lists(st.text() | st.sampled_from([*CONTROLS, "<0x41>", "▁"])).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_no_text_ever_becomes_a_control_token(text: str) -> None:
    assert not {*TOKENIZER.encode(text)} & {*TOKENIZER.controls.values()}


@settings(deadline=None)
@given(TEXTS)
def test_decoding_gives_the_text_back(text: str) -> None:
    text = text.replace("▁", " ")  # the vocabulary cannot distinguish the two
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@settings(deadline=None)
@given(TEXTS)
def test_streaming_gives_the_text_of_the_whole_without_half_characters(text: str) -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.add(token_id) for token_id in TOKENIZER.encode(text)]
    assert "".join(pieces) + stream.finish() == text.replace("▁", " ")
    assert stream.finish() == ""


def test_bytes_are_held_back_until_the_character_is_whole() -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.add(token_id) for token_id in TOKENIZER.encode("a🦙é")]
    assert pieces == ["a", "", "", "", "🦙", "é"]


def test_bytes_that_never_become_a_character_end_as_a_replacement() -> None:
    stream = TextStream(TOKENIZER)
    assert stream.add(TOKENIZER.token_id("<0xF0>")) == ""
    assert stream.add(TOKENIZER.token_id("a")) == "\ufffda"
    stream.add(TOKENIZER.token_id("<0xC3>"))
    assert stream.finish() == "\ufffd"


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\udcffb")) == "a?b"


def test_control_tokens_are_placed_by_id_where_the_program_writes_them() -> None:
    ids = TOKENIZER.encode("<|turn>user\nHi<turn|>", special=True)
    assert ids[0] == TOKENIZER.token_id("<|turn>")
    assert ids[-1] == TOKENIZER.token_id("<turn|>")
    assert ids[1:-1] == TOKENIZER.encode("user\nHi")
    assert TOKENIZER.decode(ids) == "user\nHi"


def test_a_control_token_listed_as_an_ordinary_one_is_not_read_in_text_either() -> None:
    settings = json.loads(small_backend().to_str())
    for entry in settings["added_tokens"]:
        entry["special"] = False
    tokenizer = Tokenizer(small_backend().from_str(json.dumps(settings)))
    assert tokenizer.encode("<|turn>") == TOKENIZER.encode("<|turn>")
    assert tokenizer.token_id("<|turn>") == TOKENIZER.token_id("<|turn>")


def test_a_missing_control_token_is_an_error_that_names_it() -> None:
    few = tuple(name for name in CONTROLS if name != "<|think|>")
    with pytest.raises(Gemma4Error, match=r"no token <\|think\|>"):
        Tokenizer(small_backend(few)).token_id("<|think|>")


def test_another_familys_tokenizer_is_an_error() -> None:
    gemma3 = small_backend(("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"))
    with pytest.raises(Gemma4Error, match="Gemma 3's <start_of_turn>"):
        Tokenizer(gemma3)


def test_a_folder_gives_its_tokenizer_and_template(tmp_path: Path) -> None:
    small_backend().save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_folder(tmp_path).template is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "in the config"}))
    assert Tokenizer.from_folder(tmp_path).template == "in the config"
    named = [{"name": "other", "template": "x"}, {"name": "default", "template": "named"}]
    config.write_text(json.dumps({"chat_template": named}))
    assert Tokenizer.from_folder(tmp_path).template == "named"
    (tmp_path / "chat_template.jinja").write_text("of its own")
    assert Tokenizer.from_folder(tmp_path).template == "of its own"
    assert Tokenizer.from_folder(tmp_path).vocab_size == TOKENIZER.vocab_size


def test_a_missing_or_damaged_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Gemma4Error, match="The tokenizer is missing"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model"')
    with pytest.raises(Gemma4Error, match="The tokenizer cannot be read"):
        Tokenizer.from_folder(tmp_path)
    small_backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(Gemma4Error, match="The chat template cannot be read"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "file, content",
    [
        ("chat_template.jinja", b"\xff\xfe<|turn>"),
        ("chat_template.jinja", b"x" * 300_000),
        ("chat_template.json", b"[1]"),
        ("chat_template.json", b"{"),
        ("tokenizer_config.json", b'{"chat_template": 7}'),
        ("tokenizer_config.json", b"\xff"),
        ("tokenizer_config.json", b"[" * 100_000),
    ],
)
def test_a_template_that_cannot_be_read_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    small_backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(Gemma4Error) as caught:
        Tokenizer.from_folder(tmp_path)
    assert caught.value.code == "template_unreadable" and file in caught.value.cause


def test_a_folder_in_the_place_of_a_template_is_named(tmp_path: Path) -> None:
    small_backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").mkdir()
    with pytest.raises(Gemma4Error, match=r"chat_template\.jinja cannot be read"):
        Tokenizer.from_folder(tmp_path)
