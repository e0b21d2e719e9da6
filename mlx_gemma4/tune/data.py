"""Lines -> what is learned from them: token ids, media, and which ids are answers.

The answers of a conversation are all that the model would draw itself: the text or calls of each of
its turns, and the token that ends the turn. Everything else is given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chat.messages import Turn
from ..chat.render import Prompt, render
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..model.config import Config
from .messages import LineReader
from .sources import Line, unusable

HELD_BYTES = 1_000_000_000
"""Bytes of pictures and sounds that are held; the rest is read again when it is learned from."""


@dataclass(frozen=True, eq=False)
class Example:
    """One conversation, or as much of it as can be learned at once.

    Attributes:
        prompt: ids and media as the model takes them, the answers included.
        answers: (start, stop) of the ids of each answer.
    """

    prompt: Prompt
    answers: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.prompt.token_ids)

    @property
    def targets(self) -> NDArray[np.int64]:
        """The places of the ids that are learned; the row before each predicts it."""
        return np.concatenate([np.arange(*span) for span in self.answers])

    @property
    def nbytes(self) -> int:
        """Bytes of the media."""
        media = [*self.prompt.images, *self.prompt.videos]
        return sum(patches.nbytes for patches, _ in media) + sum(
            clip.nbytes for clip in self.prompt.audio
        )


@dataclass(frozen=True)
class LineFigures:
    """What one line holds: pictures (and frames of videos) and seconds of sound."""

    tokens: int
    answer_tokens: int
    pictures: int
    seconds: float


@dataclass
class Data:
    """Checked lines; `examples(n)` has those of the n-th, read again where they are not held.

    Attributes:
        left_out: why lines are not among them.
        notes: what was done with their media that the user may want to know.
    """

    lines: list[Line]
    writer: "Writer"
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[LineFigures] = field(default_factory=list)
    _held: dict[int, list[Example]] = field(default_factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self.lines)

    def examples(self, number: int) -> list[Example]:
        """What is learned from a line; more than one example where a template cuts it."""
        if number in self._held:
            return self._held[number]
        made = self.writer.examples(self.lines[number])
        self._bytes += (size := sum(one.nbytes for one in made))
        if self._bytes <= HELD_BYTES:
            self._held[number] = made
        else:
            self._bytes -= size
        return made


class Writer:
    """Writes lines as the model's own prompts.

    Args:
        image_tokens: the most tokens of a picture.
        longest: the most tokens of a conversation.
    """

    def __init__(
        self, config: Config, tokenizer: Tokenizer, image_tokens: int, longest: int
    ) -> None:
        self._config, self._tokenizer, self._longest = config, tokenizer, longest
        self.reader = LineReader(config, image_tokens)

    def examples(self, line: Line) -> list[Example]:
        """Make what is learned from a line.

        Raises:
            Gemma4Error: it cannot be used, and why.
        """
        turns, tools = self.reader.turns(line)
        found: list[Example] = []
        for number, turn in enumerate(turns):
            if turn.role != "model":
                continue
            try:
                example = self._example(turns[: number + 1], tools)
            except Gemma4Error as error:
                raise unusable(line.place, error.cause, error.remedy) from error
            if len(example) > self._longest:
                raise unusable(
                    line.place,
                    f"It has {len(example):,} tokens, and {self._longest:,} are the most.",
                    "Shorten it, use fewer tokens a picture (--image-tokens), or raise "
                    "--longest if the memory allows (`gemma4 fit --tune`).",
                )
            if found and _continues(example, found[-1]):
                answers = (*found.pop().answers, *example.answers)
                example = replace(example, answers=answers)
            found.append(example)
        return found

    def _example(self, turns: Sequence[Turn], tools: Sequence[Any]) -> Example:
        """A conversation whose last turn is learned."""
        tokenizer, config = self._tokenizer, self._config
        asked = render(turns[:-1], tokenizer, config, tools=tools)
        whole = render(turns, tokenizer, config, tools=tools, open_reply=False).token_ids
        ids = asked.token_ids
        # A template may open a reply otherwise than it writes a past one: what is drawn follows
        # the opened one
        same = next((n for n, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b), None)
        answer = whole[min(len(ids), len(whole)) if same is None else same :]
        ends = [tokenizer.controls.get(name) for name in ("<turn|>", "<|tool_response>")]
        while answer and answer[-1] not in ends:  # the line feed after a turn
            answer.pop()
        return Example(
            replace(asked, token_ids=[*ids, *answer]), ((len(ids), len(ids) + len(answer)),)
        )


def check(lines: Sequence[Line], writer: Writer) -> Iterator[tuple[int, Data]]:
    """Read every line once; yields how many are done, and what they are.

    Raises:
        Gemma4Error: lines cannot be used: the first of them in full, the places of the others.
    """
    data = Data([], writer)
    bad: list[tuple[Line, Gemma4Error]] = []
    for number, line in enumerate(lines, 1):
        data.lines.append(line)
        try:
            data.figures.append(_figures(data.examples(len(data) - 1)))
            data.notes += writer.reader.notes
        except Gemma4Error as error:
            data.lines.pop()
            bad.append((line, error))
        yield number, data
    if data.lines:
        data.left_out = [error.cause for line, error in bad if line.may_lack]
        bad = [(line, error) for line, error in bad if not line.may_lack]
    if bad:
        first, others = bad[0][1], [line.place for line, _ in bad[1:]]
        more = f" Nor can {len(others)} more: {'; '.join(others[:9])}." if others else ""
        raise Gemma4Error(first.code, first.title, f"{first.cause}{more}", first.remedy)


def _continues(example: Example, before: Example) -> bool:
    ids = before.prompt.token_ids
    return example.prompt.token_ids[: len(ids)] == ids


def _figures(examples: Sequence[Example]) -> LineFigures:
    last = examples[-1].prompt
    return LineFigures(
        max(map(len, examples)),
        sum(stop - start for one in examples for start, stop in one.answers),
        len(last.images) + len(last.videos),
        0.04 * sum(map(len, last.audio)),
    )
