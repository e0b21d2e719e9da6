"""The makers of what the demonstration model is trained on: pictures, sounds and words."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mlx_gemma4.chat.messages import ImagePart, TextPart, ToolResult, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.evaluate.tiny.receipts import QUESTIONS, Drawing, make_receipt
from mlx_gemma4.evaluate.tiny.tasks import REQUESTS, Exchange
from mlx_gemma4.events import ToolCall
from mlx_gemma4.media.images import patches
from mlx_gemma4.model.config import load_config
from tools.tiny import pages, papers, scenes, sentences, voices, wordings
from tools.tiny.configuration import Shape, configuration
from tools.tiny.conversation import DONE, PIXELS, Writer, sight
from tools.tiny.curriculum import PLANS, stage_at
from tools.tiny.sounds import RATE, Channel, Room
from tools.tiny.vocabulary import CONTROLS, build

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"
ROWS = (("OAKLANE", ""), ("tea", "4.20"), ("total", "12.60"))
needs_fonts = pytest.mark.skipif(
    not all(any((folder / name).exists() for folder in pages.FOLDERS) for name in pages.FONTS),
    reason=f"not installed: one of {pages.PACKAGES}",
)


def test_questions_have_more_than_a_hundred_wordings_and_every_kind_has_some_held_out() -> None:
    assert sum(map(len, sentences.CORES.values())) >= 150
    for kind in QUESTIONS:
        practised = wordings.part(sentences.CORES[kind], examination=False)
        examined = wordings.part(sentences.CORES[kind], examination=True)
        assert set(QUESTIONS[kind]) <= set(practised)
        assert len(examined) >= 3 and not set(examined) & set(practised)
    assert set(REQUESTS) <= set(wordings.part(sentences.TRANSCRIBE, examination=False))


@pytest.mark.parametrize("kind", sorted(sentences.CORES))
def test_every_kind_of_question_can_be_examined(kind: str) -> None:
    for seed in range(20):
        assert wordings.question(kind, random.Random(seed), examination=True, item="tea")


def test_a_typed_question_keeps_its_words_in_any_case_and_punctuation() -> None:
    rng = random.Random(0)
    typed = [wordings.written("what is the total", rng) for _ in range(200)]
    assert {t.rstrip(" ?!.").lower() for t in typed} == {"what is the total"}
    assert {"WHAT IS THE TOTAL", "What is the total", "what is the total"} <= {
        t.rstrip(" ?!.") for t in typed
    }


@needs_fonts
@pytest.mark.parametrize("kind", pages.DISTURBANCES)
def test_each_character_of_a_page_has_ink_where_it_is_said_to_lie(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(5):
        how = pages.look(rng, 1.0, kind)
        drawing = pages.draw_rows(ROWS, how, rng)
        assert "".join(c for c, _, _ in drawing.characters) == "OAKLANEtea4.20total12.60"
        grey = np.asarray(drawing.image.convert("RGB"), float)
        paper = np.array(how.paper, float)
        contrast = np.abs(np.array(how.ink) - paper).max()
        for character, x, y in drawing.characters:
            if character == ".":
                continue
            window = grey[max(0, int(y) - 10) : int(y) + 11, max(0, int(x) - 10) : int(x) + 11]
            assert window.size
            assert np.abs(window - paper).max() > 0.25 * contrast


@needs_fonts
def test_nothing_is_written_on_a_picture_that_cannot_be_read() -> None:
    rng = random.Random(1)
    for _ in range(12):
        drawing = pages.nothing(rng, pages.look(rng))
        assert drawing.characters == ()
        assert drawing.image.size in pages.SIZES


@needs_fonts
def test_a_dialog_shows_its_message_and_then_its_buttons() -> None:
    rng = random.Random(2)
    for _ in range(10):
        message, buttons = papers.dialog_text(rng, examination=False)
        drawing = pages.dialog(rng, message, buttons, pages.look(rng, only="plain"))
        written = "".join((*message, *buttons)).replace(" ", "")
        assert "".join(c for c, _, _ in drawing.characters) == written


def test_a_receipt_in_another_order_still_has_all_its_rows() -> None:
    rng = random.Random(3)
    orders = set()
    for seed in range(60):
        receipt = make_receipt(random.Random(seed))
        rows = papers.receipt_rows(receipt, rng)
        assert dict(rows)["total"] == receipt.total
        assert {(receipt.shop, ""), (receipt.date, ""), *receipt.items} <= set(rows)
        assert len(rows) == len(receipt.items) + 5
        orders.add((rows[1] == (receipt.date, ""), rows[-1][0] == "total"))
    assert len(orders) >= 3


def test_speech_stays_whole_between_its_quiet_and_noise() -> None:
    tone = 0.5 * np.sin(np.arange(RATE) / 9).astype(np.float32)
    still = Room(random.Random(4), Channel((1.5, 1.5), 0.0, (), 0.0, 0.0, 1.0))
    lengths = []
    for _ in range(30):
        heard = still.hear(tone)
        start = int(np.flatnonzero(np.abs(heard) > 0.01)[0])
        assert np.allclose(heard[start : start + RATE - 9], tone[1 : RATE - 8], atol=1e-3)
        lengths.append(len(heard))
    assert min(lengths) >= RATE and max(lengths) > 2 * RATE
    loud = Room(random.Random(5), Channel((1.5, 1.5), 1.0))
    for _ in range(20):
        heard = loud.hear(tone)
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all() and 0 < np.abs(heard).max() <= 1


def test_what_nobody_said_is_half_a_second_to_four_seconds_of_sound() -> None:
    room = Room(random.Random(6), Channel())
    sounds = [room.nobody() for _ in range(40)]
    assert all(RATE // 2 <= len(s) <= 4 * RATE and np.isfinite(s).all() for s in sounds)
    assert any(not s.any() for s in sounds) and any(np.abs(s).max() > 0.05 for s in sounds)


def test_voices_that_are_examined_are_not_those_that_are_practised() -> None:
    assert len(voices.ESPEAK) >= 10
    assert not {*voices.ESPEAK, *voices.FLITE} & {*voices.UNHEARD}


def test_a_tool_call_is_written_for_training_as_the_library_writes_it() -> None:
    call = '<|tool_call>call:open_app{name:<|"|>mail<|"|>}<tool_call|>'
    exchanges = [Exchange(call, "open mail"), Exchange("4", "how many items?")]
    tools = scenes.tools("tool")
    written = Writer(TINY / "tokenizer.json").write(exchanges, open_reply=True, tools=tools)
    turns = [
        Turn("user", (TextPart("open mail"),)),
        Turn("model", (ToolCall("call_1", "open_app", {"name": "mail"}),)),
        Turn("tool", (ToolResult("open_app", "done", "call_1"),)),
        Turn("model", (TextPart(DONE),)),
        Turn("user", (TextPart("how many items?"),)),
    ]
    prompt = render(turns, Tokenizer.from_folder(TINY), load_config(TINY), tools=tools)
    assert written.ids == prompt.token_ids


def test_a_call_is_learned_with_its_end_and_the_result_of_the_tool_is_not() -> None:
    writer = Writer(TINY / "tokenizer.json")
    call = '<|tool_call>call:open_app{name:<|"|>maps<|"|>}<tool_call|>'
    example = writer.write([Exchange(call, "open maps")], tools=scenes.tools("tool"))
    learned = [i for i, learn in zip(example.ids, example.learn, strict=True) if learn]
    ends = [writer.control("<|tool_response>")], [writer.control("<turn|>")]
    assert learned == [*writer.marked(call), *ends[0], *writer.encode(DONE), *ends[1]]


def test_a_coloured_patch_is_seen_as_the_mean_of_its_normalised_channels() -> None:
    rng = np.random.default_rng(7)
    raw = rng.random((3, 3 * PIXELS), np.float32)
    seen = sight(raw).astype(np.float32)
    spread = (raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True)
    assert seen.shape == (3, PIXELS)
    assert np.allclose(seen, spread.reshape(3, PIXELS, 3).mean(2), atol=2e-3)


def test_every_task_of_every_plan_can_be_made_and_the_last_stage_is_the_widest() -> None:
    for plan in PLANS.values():
        assert all(hasattr(scenes.Scenes, name) for stage in plan for name in stage.shares)
        assert plan[0].start == 0.0
        assert stage_at(plan, 1.0) == plan[-1]
        assert plan[-1].width.wide == max(stage.width.wide for stage in plan)


def test_the_configuration_that_is_trained_loads_as_gemma_4_with_its_traits(tmp_path: Path) -> None:
    wide = Shape(vocabulary=1024, hidden=256, inner=768)
    (tmp_path / "config.json").write_text(json.dumps(configuration(wide)))
    build(tmp_path / "tokenizer.json")
    config = load_config(tmp_path)
    assert config.text_config.hidden_size == 256
    assert Tokenizer.from_folder(tmp_path).vocab_size == 1024
    assert CONTROLS.index("<|tool_response>") == 20


def test_the_picture_comes_before_the_text_in_a_turn_that_is_learned() -> None:
    canvas = Pillow.new("RGB", (96, 96), "white")
    written = Writer(TINY / "tokenizer.json").write(
        [Exchange("", "what is it", Drawing(canvas, ()))], open_reply=True
    )
    turn = Turn("user", (TextPart("what is it"), ImagePart(patches(canvas, 70))))
    assert written.ids == render([turn], Tokenizer.from_folder(TINY), load_config(TINY)).token_ids
