"""What is kept of a rendered conversation is what rendering it as a whole returns."""

import random
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, ToolResult, Turn
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.events import Thought, ToolCall
from mlx_gemma4.media.images import patches
from mlx_gemma4.model.config import Config, load_config
from mlx_gemma4.session.rendering import Rendering
from mlx_gemma4.session.rows import PromptRows
from tests.unit.small_tokenizer import small_tokenizer
from tests.unit.test_prompt import CONFIG
from tests.unit.test_prompt_templates import WHOLE

TINY = Path(__file__).parents[2] / "assets" / "tiny"
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time"}}
PICTURE = ImagePart(patches(TINY.parent / "demo" / "receipt.png", 70))
VOICE = (np.random.default_rng(3).standard_normal((40, 640)) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(TINY)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(TINY)


def conversation(rng: random.Random) -> list[Turn]:
    turns = [Turn("system", (TextPart("Be brief."),))] if rng.random() < 0.5 else []
    for number in range(rng.randrange(3)):
        asked = [TextPart(f"question <{number}>"), PICTURE, SoundPart(VOICE[:5])]
        turns.append(Turn("user", tuple(rng.sample(asked, rng.randrange(1, 4)))))
        if rng.random() < 0.5:
            calls = (Thought("I look."), ToolCall("c1", "clock", {}))
            turns += [Turn("model", calls), Turn("tool", (ToolResult("clock", "noon", "c1"),))]
        turns.append(Turn("model", (TextPart(f"answer {number}"),)))
    return turns


def alike(found: PromptRows, whole: PromptRows) -> bool:
    a, b = found.prompt, whole.prompt
    media = [(a.images, b.images), (a.videos, b.videos), (a.audio, b.audio)]
    return (
        a.token_ids == b.token_ids
        and found.rows == whole.rows
        and all(len(x) == len(y) for x, y in media)
        and all(np.array_equal(x, y) for x, y in zip(a.audio, b.audio, strict=True))
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_growing_turn_is_rendered_as_the_whole_conversation_is(
    seed: int, tokenizer: Tokenizer, config: Config
) -> None:
    rng = random.Random(seed)
    before, thinking = conversation(rng), rng.random() < 0.5
    tools = [CLOCK] if rng.random() < 0.5 else []
    kept = Rendering(tokenizer, config, thinking)
    kept.open(tools)
    added = [TextPart("and now?"), PICTURE] if rng.random() < 0.5 else []
    for length in (1, 7, 23, 40):
        turns = [*before, Turn("user", (*added, SoundPart(VOICE[:length])))]
        fresh = Rendering(tokenizer, config, thinking)
        fresh.open(tools)
        assert alike(kept.settled(turns, True), fresh.settled(turns, True))
        assert alike(kept.prompt(turns), fresh.prompt(turns))


def test_a_format_that_writes_a_turn_otherwise_alone_is_rendered_as_a_whole() -> None:
    header = "'<|turn>' + role + '\\n'"
    counting = f"{header} + ('turn ' + (loop.index | string) if role == 'user' else '')"
    assert header in WHOLE
    tokenizer = small_tokenizer(WHOLE.replace(header, counting))
    kept = Rendering(tokenizer, CONFIG, thinking=False)
    before = [Turn("user", (TextPart("one"),)), Turn("model", (TextPart("two"),))]
    for text in ("three", "three four", "three four five"):
        turns = [*before, Turn("user", (TextPart(text),))]
        fresh = Rendering(tokenizer, CONFIG, thinking=False).settled(turns, True)
        assert f"turn 3{text}" in tokenizer.decode(fresh.prompt.token_ids)
        assert alike(kept.settled(turns, True), fresh)


def test_turns_that_changed_before_the_last_one_are_rendered_again(
    tokenizer: Tokenizer, config: Config
) -> None:
    kept = Rendering(tokenizer, config, thinking=False)
    for first in ("one", "uno"):
        turns = [Turn("user", (TextPart(first),)), Turn("model", (TextPart("two"),))]
        for text in ("three", "four"):
            rows = kept.settled([*turns, Turn("user", (TextPart(text),))], True)
            assert first in (found := tokenizer.decode(rows.prompt.token_ids)) and text in found
