"""Conversations as token ids with pictures and sounds in place, and what each row is to learn."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mlx_gemma4.chat.messages import ToolResult
from mlx_gemma4.chat.tools import declaration, response
from mlx_gemma4.evaluate.tiny.receipts import Drawing
from mlx_gemma4.evaluate.tiny.tasks import Exchange
from mlx_gemma4.media.audio import frames
from mlx_gemma4.media.images import patches

PIXELS = 48 * 48
SLOTS = 8  # characters in a patch, at most
DONE = "Done."
GLYPHS = "".join(map(chr, range(33, 127)))


@dataclass
class Example:
    """One conversation. T rows, P patches, F frames; `learn` marks ids that are targets."""

    ids: list[int] = field(default_factory=list)
    learn: list[bool] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    patches: list[np.ndarray] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    glyphs: list[np.ndarray] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    said: list[list[int]] = field(default_factory=list)
    places: list[int] = field(
        default_factory=list
    )  # row of the patch with the next character, or -1


class Writer:
    """Writes exchanges as Gemma 4 turns: picture, then text, then sound."""

    def __init__(self, tokenizer_file: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self.tokenizer.encode_special_tokens = True

    def control(self, name: str) -> int:
        """The id of a control token."""
        token = self.tokenizer.token_to_id(name)
        assert token is not None, name
        return int(token)

    def encode(self, text: str) -> list[int]:
        """Text as ids, never as control tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def marked(self, text: str) -> list[int]:
        """Text of the format itself, whose control tokens are spelled out, as ids."""
        parts = re.split(r"(<\|\w+>|<\w+\|>|<\|\"\|>)", text)
        return [
            i
            for number, part in enumerate(parts)
            for i in ([self.control(part)] if number % 2 else self.encode(part))
        ]

    def write(
        self,
        exchanges: Sequence[Exchange],
        empty_thought: bool = False,
        open_reply: bool = False,
        system: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Example:
        """Write a conversation; with `open_reply` the last answer is left to the model."""
        example = Example()
        self._add(example, [self.control("<bos>")])
        if system or tools:
            self._add(example, [self.control("<|turn>"), *self.encode("system\n" + system)])
            self._add(example, self.marked("".join(map(declaration, tools))))
            self._add(example, [self.control("<turn|>"), *self.encode("\n")])
        shown: _Shown | None = None
        for number, exchange in enumerate(exchanges):
            last = number == len(exchanges) - 1
            self._add(example, [self.control("<|turn>"), *self.encode("user\n")])
            if exchange.drawing is not None:
                shown = self._picture(example, exchange.drawing, exchange.budget)
            self._add(example, self.encode(exchange.question))
            if exchange.sound is not None:
                self._sound(example, exchange.sound, exchange.said)
            self._add(example, [self.control("<turn|>"), *self.encode("\n")])
            self._add(example, [self.control("<|turn>"), *self.encode("model\n")])
            if last and empty_thought:
                thought = [
                    self.control("<|channel>"),
                    *self.encode("thought\n"),
                    self.control("<channel|>"),
                ]
                self._add(example, thought)
            if not (last and open_reply):
                start = len(example.ids)
                called = exchange.answer.startswith("<|tool_call>")
                answer = self.marked(exchange.answer) if called else self.encode(exchange.answer)
                stop = "<|tool_response>" if called else "<turn|>"
                self._add(example, [*answer, self.control(stop)], learn=True)
                if called:
                    self._result(example, exchange)
                if shown is not None and exchange.label is not None:
                    # The row before an id is the one that predicts it.
                    for column, place in enumerate(self._places(shown, exchange)):
                        example.places[start + column - 1] = place
                if not last:
                    self._add(example, self.encode("\n"))
        return example

    def _result(self, example: Example, exchange: Exchange) -> None:
        """The tool's result, and the model's answer to it."""
        name = exchange.answer.partition("call:")[2].partition("{")[0]
        result = response(ToolResult(name, "done")).removeprefix("<|tool_response>")
        self._add(example, self.marked(result))
        self._add(example, [*self.encode(DONE), self.control("<turn|>")], learn=True)

    def _add(self, example: Example, ids: list[int], learn: bool = False, block: int = 0) -> None:
        example.ids += ids
        example.learn += [learn] * len(ids)
        example.blocks += [block] * len(ids)
        example.places += [-1] * len(ids)

    def _places(self, shown: "_Shown", exchange: Exchange) -> list[int]:
        printed = "".join(character for character, _, _ in shown.drawing.characters)
        label, answer = exchange.label or "", exchange.answer
        at = printed.rfind(label + "".join(answer.split()))
        if at < 0:
            return []
        offsets = self.tokenizer.encode(answer, add_special_tokens=False).offsets
        places = []
        for start, stop in offsets:
            before = len("".join(answer[:start].split()))
            inside = "".join(answer[start:stop].split())
            places.append(shown.rows[at + len(label) + before] if inside else -1)
        return places

    def _picture(self, example: Example, drawing: Drawing, budget: int) -> "_Shown":
        picture = patches(drawing.image, budget)
        count = len(picture.patches)
        example.patches.append(picture.patches / np.float32(255))
        example.positions.append(picture.positions)
        patch_of, labels = _glyphs(drawing, picture.size, count)
        example.glyphs.append(labels)
        self._add(example, [self.control("<|image>")])
        first = len(example.ids)
        self._add(example, [self.control("<|image|>")] * count, block=len(example.patches))
        self._add(example, [self.control("<image|>")])
        return _Shown(drawing, [first + patch if patch >= 0 else -1 for patch in patch_of])

    def _sound(self, example: Example, samples: np.ndarray, said: str) -> None:
        rows = frames(samples)
        example.frames.append(rows)
        example.said.append(self.encode(said))
        self._add(example, [self.control("<|audio>")])
        self._add(example, [self.control("<|audio|>")] * len(rows))
        self._add(example, [self.control("<audio|>")])


@dataclass(frozen=True)
class _Shown:
    """A picture in a conversation: the row of the patch in which each printed character is."""

    drawing: Drawing
    rows: list[int]


def _glyphs(drawing: Drawing, size: tuple[int, int], count: int) -> tuple[list[int], np.ndarray]:
    """The patch of each character's centre (-1: outside), and the characters of each patch.

    The second is (P, SLOTS) ints, left to right, 0 for none.
    """
    across, down = size[0] / drawing.image.width / 48, size[1] / drawing.image.height / 48
    columns = size[0] // 48
    labels = np.zeros((count, SLOTS), np.int64)
    filled = np.zeros(count, np.int64)
    patch_of = []
    for character, x, y in drawing.characters:
        patch = int(y * down) * columns + int(x * across)
        inside = 0 <= x * across < columns and 0 <= y and patch < count
        patch_of.append(patch if inside else -1)
        if inside and filled[patch] < SLOTS:
            labels[patch, filled[patch]] = 1 + GLYPHS.index(character)
            filled[patch] += 1
    return patch_of, labels


def sight(patches: np.ndarray) -> np.ndarray:
    """Patches (P, 6912) in [0, 1] as the network takes them: normalised, colours averaged."""
    centred = patches - patches.mean(1, keepdims=True)
    scale = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    grey: np.ndarray = (centred / scale).reshape(-1, PIXELS, 3).mean(2)
    return grey.astype(np.float16)
