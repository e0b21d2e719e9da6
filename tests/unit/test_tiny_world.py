"""The small world of the tiny model: taught as the library asks, examined on what is fresh."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.evaluate.tiny import receipts, words
from mlx_gemma4.evaluate.tiny.receipts import Drawing
from mlx_gemma4.evaluate.tiny.tasks import Exchange, Tasks, World
from mlx_gemma4.hub import catalog
from mlx_gemma4.media.audio import frames
from mlx_gemma4.media.images import patches
from mlx_gemma4.model.config import load_config
from tools.tiny.conversation import GLYPHS, Writer
from tools.tiny.curriculum import PLANS

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"


def test_a_conversation_is_written_for_training_as_the_library_writes_it() -> None:
    canvas = Pillow.new("RGB", (288, 480), "white")
    sound = np.sin(np.arange(9_000) / 20).astype(np.float32)
    exchanges = [
        Exchange("4", "how many items?", Drawing(canvas, ()), 70, kind="count"),
        Exchange("OAK", "", sound=sound, said="which shop is it"),
        Exchange("", "What is the tax"),
    ]
    written = Writer(TINY / "tokenizer.json").write(exchanges, open_reply=True, system="Be brief.")
    turns = [
        Turn("system", (TextPart("Be brief."),)),
        Turn("user", (TextPart("how many items?"), ImagePart(patches(canvas, 70)))),
        Turn("model", (TextPart("4"),)),
        Turn("user", (SoundPart(frames(sound)),)),
        Turn("model", (TextPart("OAK"),)),
        Turn("user", (TextPart("What is the tax"),)),
    ]
    assert written.ids == render(turns, Tokenizer.from_folder(TINY), load_config(TINY)).token_ids


def test_the_catalogue_lists_the_image_tokens_that_the_tiny_model_was_taught() -> None:
    taught = {budget for stage in PLANS["scratch"] for budget in stage.world.budgets}
    for name in ("tiny", "tiny-4bit"):
        assert set(catalog.packages()[name].image_tokens) == taught
    assert load_config(TINY).image_tokens in taught


def test_only_answers_and_their_end_are_learned() -> None:
    writer = Writer(TINY / "tokenizer.json")
    written = writer.write(
        [Exchange("12.50", "what is the total"), Exchange("7", "how many items")]
    )
    learned = [i for i, learn in zip(written.ids, written.learn, strict=True) if learn]
    end = writer.control("<turn|>")
    assert learned == [*writer.encode("12.50"), end, *writer.encode("7"), end]


def test_each_answer_is_pointed_at_where_it_is_printed() -> None:
    pytest.importorskip("matplotlib", reason="its fonts belong to the train extra")
    writer, seen = Writer(TINY / "tokenizer.json"), 0
    tasks = Tasks(3, World(shift=6.0, budgets=(70, 140), anywhere=0.5))
    for kind in (*receipts.KINDS, "price", "lines") * 4:
        example = writer.write(tasks.asked(kind))
        first = example.blocks.index(1)
        for row, place in enumerate(example.places):
            if place >= 0:
                next_text = writer.tokenizer.id_to_token(example.ids[row + 1]).strip("▁")
                printed = [GLYPHS[g - 1] for g in example.glyphs[0][place - first] if g]
                assert next_text[0] in printed
                seen += 1
    assert seen > 200


def test_the_numbers_of_a_receipt_add_up() -> None:
    for seed in range(50):
        receipt = receipts.make_receipt(random.Random(seed))
        total = sum(float(price) for _, price in receipt.items) + float(receipt.tax)
        assert float(receipt.total) == pytest.approx(total)
        assert len(receipt.lines) <= 10
        assert max(map(len, receipt.lines)) <= receipts.COLUMNS


def test_what_is_examined_was_never_practised() -> None:
    rng = random.Random(0)
    practised = {words.command(rng, examination=False) for _ in range(3000)}
    examined = {words.command(rng, examination=True) for _ in range(3000)}
    assert practised and examined and not practised & examined
    assert all(words.held_out(text) == (len(text) > 2) or len(text) < 3
               for text in (words.digits(rng, examination=True) for _ in range(200)))  # fmt: skip
