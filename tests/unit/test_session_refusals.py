"""What a session refuses, and what is left of the conversation then."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_gemma4.chat.messages import SoundPart, TextPart, Turn
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, ToolCall
from mlx_gemma4.generation.prefill_decode import Steps
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.constrained import ReplyRules
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tiny_config, tiny_model, tones
from tests.configs import with_context
from tests.unit.test_session import CLIP, finished


@pytest.fixture
def session(model: Gemma4) -> Session:
    return Session(model, image_tokens=70)


@pytest.fixture
def short(folder: Path) -> Session:
    """A session whose model has a context of 120 tokens."""
    model = tiny_model(config=with_context(tiny_config(), 120))
    return Session(model, tokenizer=Tokenizer.from_folder(folder))


def test_the_reply_ends_where_the_context_is_full(short: Session) -> None:
    short.add_text("x" * 80)
    done = finished(short, tokens=200)
    assert done.reason == "context"
    assert done.stats["prompt_tokens"] + done.stats["reply_tokens"] == 120


def test_a_conversation_longer_than_the_context_is_refused_before_any_work(short: Session) -> None:
    short.add_text("x" * 120)
    with pytest.raises(Gemma4Error, match="too long"):
        short.reply()
    assert short.context == (0, 120)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"max_tokens": 0}, "max_tokens"), ({"temperature": -1.0}, "temperature")]
    + [({"top_p": 2.0}, "top_p"), ({"top_k": -1}, "top_k"), ({"seed": -1}, "seed")],
)
def test_a_setting_out_of_range_is_refused_by_name(
    session: Session, settings: dict[str, Any], name: str
) -> None:
    session.add_text("hello")
    with pytest.raises(Gemma4Error, match=name):
        session.reply(**settings)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"tools": 5}, "tool_malformed"),
        ({"turns": "x"}, "setting_unknown"),
        ({"turns": 5}, "setting_unknown"),
        ({"turns": [1]}, "setting_unknown"),
        ({"system": 3}, "conversation_malformed"),
        ({"image_tokens": "a"}, "image_tokens_unknown"),
        ({"image_tokens": 0}, "image_tokens_unknown"),
        ({"context": "x"}, "setting_out_of_range"),
        ({"context": 0}, "setting_out_of_range"),
    ],
)
def test_a_setting_of_another_type_is_refused_when_the_session_is_made(
    model: Gemma4, settings: dict[str, Any], code: str
) -> None:
    with pytest.raises(Gemma4Error) as caught:
        Session(model, **settings)
    assert caught.value.code == code


def test_tools_and_their_results_that_are_nested_too_deeply_are_refused(
    model: Gemma4, session: Session
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(800):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"default": deep}}}
    with pytest.raises(Gemma4Error, match="too deeply") as caught:
        Session(model, tools=[tool])
    assert caught.value.code == "tool_malformed"
    session.open([Turn("user", (TextPart("x"),)), Turn("model", (ToolCall("c1", "look", {}),))])
    session.add_tool_result("c1", deep)
    with pytest.raises(Gemma4Error, match="too deeply") as caught:
        session.reply()
    assert caught.value.code == "conversation_malformed"
    session.add_tool_result("c1", {"a": 1})  # in its place
    assert finished(session).stats["reply_tokens"] > 0


@pytest.mark.parametrize("text", [None, b"x", 3, ["x"]])
def test_what_is_no_text_is_refused_and_nothing_is_lost(session: Session, text: Any) -> None:
    session.add_text("hello")
    with pytest.raises(Gemma4Error, match=type(text).__name__) as caught:
        session.add_text(text)
    assert caught.value.code == "conversation_malformed"
    finished(session)
    assert session.turns[0].parts == (TextPart("hello"),)


@pytest.mark.parametrize("settings", [{"stop": 3}, {"stop": [3]}, {"must_call": 3}])
def test_texts_of_another_type_are_refused_by_name(
    session: Session, settings: dict[str, Any]
) -> None:
    session.add_text("hello")
    with pytest.raises(Gemma4Error, match="list of str") as caught:
        session.reply(**settings)
    assert caught.value.code == "setting_unknown"
    assert finished(session).stats["reply_tokens"] > 0


def test_a_reply_that_is_cancelled_before_its_schema_is_ready_draws_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []

    def constraint(_: ReplyRules) -> Steps[None]:
        while True:
            waits.append(True)
            yield 0, 1

    monkeypatch.setattr(ReplyRules, "constraint", constraint)
    session.add_text("hello")
    events = session.reply(5, grammar={}, cancelled=lambda: bool(waits) and waits.pop())
    assert list(events) == [Done("cancelled")]


def test_one_stop_text_may_be_alone(session: Session) -> None:
    assert ReplyRules(
        session._tokenizer, session._model.config, False, (), None, (), "END"
    ).stop == ("END",)


@pytest.mark.parametrize("frames", ["x", {}, [[1], [2, 3]]])
def test_what_is_no_sound_is_refused(session: Session, frames: Any) -> None:
    for add in (session.hear, session.add_frames, lambda one: session.add_audio(one, 16_000)):
        with pytest.raises(Gemma4Error):
            add(frames)
    with pytest.raises(Gemma4Error, match="None samples a second"):
        session.add_audio(CLIP.reshape(-1))


@pytest.mark.parametrize("mark", [None, 3])
def test_what_is_no_mark_is_refused(session: Session, mark: Any) -> None:
    with pytest.raises(Gemma4Error, match="is no mark"):
        session.rewind(mark)


def test_a_picture_of_no_tokens_is_refused(session: Session) -> None:
    with pytest.raises(Gemma4Error, match="not with 0"):
        session.add_image(np.zeros((48, 48, 3), np.uint8), 0)


def test_there_must_be_something_to_answer(session: Session) -> None:
    with pytest.raises(Gemma4Error, match="nothing to answer"):
        session.reply()


def test_frames_of_another_shape_are_refused(session: Session) -> None:
    with pytest.raises(Gemma4Error, match="shape"):
        session.hear(np.zeros((3, 100)))


def test_frames_that_could_not_be_read_are_not_part_of_the_turn(session: Session) -> None:
    session.hear(CLIP)
    with pytest.raises(Gemma4Error, match="NaN"):
        session.hear(np.full((2, 640), np.nan, np.float32))
    finished(session)
    (heard,) = session.turns[0].parts
    assert isinstance(heard, SoundPart) and np.array_equal(heard.frames, CLIP)


def test_long_sound_is_refused_or_split_as_chosen(session: Session) -> None:
    samples = tones([440], 31)
    with pytest.raises(Gemma4Error, match="too long"):
        session.add_audio(samples, 16_000)
    session.add_audio(samples, 16_000, long="split")
    assert len(session._conversation.pending.parts) == 2


def test_a_mark_of_another_session_is_refused(model: Gemma4) -> None:
    with pytest.raises(Gemma4Error, match="another session"):
        Session(model).rewind(Session(model).mark())


def test_a_model_without_a_folder_needs_a_tokenizer() -> None:
    with pytest.raises(Gemma4Error, match="tokenizer"):
        Session(tiny_model())


def test_a_folder_without_a_tokenizer_says_which_file_is_missing(tmp_path: Path) -> None:
    model = tiny_model()
    model.folder = tmp_path
    with pytest.raises(Gemma4Error, match="tokenizer.json"):
        Session(model)


CALLS = {
    "add_text": lambda session: session.add_text("x"),
    "reply": lambda session: session.reply(),
    "hear": lambda session: session.hear(CLIP),
    "mark": lambda session: session.mark(),
    "idle": lambda session: session.idle(),
    "open": lambda session: session.open([]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_from_inside_a_callback_of_the_reply_is_refused(session: Session, call: str) -> None:
    session.add_text("hello")
    errors: list[Gemma4Error] = []

    def progress(done: int, total: int) -> None:
        with pytest.raises(Gemma4Error) as caught:
            CALLS[call](session)
        errors.append(caught.value)

    *_, done = session.reply(max_tokens=3, temperature=0, progress=progress)
    assert {error.code for error in errors} == {"session_busy"}
    assert isinstance(done, Done) and done.stats["reply_tokens"] == 3
