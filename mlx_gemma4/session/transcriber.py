"""A side context that turns sound into text: where the conversation hears badly, or beside it.

The 12B understands sound badly that is past some position of its context (`audio_safe_position`
in Package.toml). There the transcriber hears it: a short instruction is read once and marked, the
frames stream in after it while they are spoken, and the transcript is drawn at the end.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Literal

from ..chat.messages import SoundPart, TextPart, Turn
from ..chat.parser import ReplyParser
from ..chat.render import render, unfinished
from ..chat.tokenizer import Tokenizer
from ..events import Heard, Token
from ..generation.drafting import Draft
from ..generation.prefill_decode import Steps
from ..generation.sampler import Sampler
from ..media.audio import FRAME, LIMIT_SECONDS, RATE
from ..model.gemma4 import Gemma4
from .pending_turn import cut
from .prefix_cache import PrefixCache, PrefixMark
from .rows import PromptRows, with_rows

HearingMode = Literal["auto", "direct", "relay"]

CLIP = int(LIMIT_SECONDS * RATE / FRAME)
"""Frames of the longest clip the model was made for."""

_SPARE = 16  # tokens that a transcript may have besides one for each two frames


class Transcriber:
    """Hears one clip after another, and transcribes each.

    Args:
        safe: the position before which sound should end; None if it does not matter.
    """

    def __init__(
        self,
        model: Gemma4,
        tokenizer: Tokenizer,
        instruction: str,
        safe: int | None,
        draft: Draft = "off",
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._instruction = TextPart(instruction)
        self.cache = PrefixCache(model, draft=draft)
        self._start: PrefixMark | None = None
        head = len(self._prompt())
        self.limit = CLIP if safe is None else max(min(CLIP, safe - head - 1), 1)
        """Frames of the longest clip it hears."""

    def prepare(self) -> Steps[int]:
        """Read the instruction, if that was not done before; return the rows that were fed."""
        if self._start is not None:
            return 0
        fed = yield from self.cache.prepare(self._prompt())
        self._start = self.cache.mark()
        return fed

    def hear(self, clip: SoundPart) -> Steps[int]:
        """Hold a clip as far as it was spoken; return how many rows were new, and fed."""
        yield from self.prepare()
        return (yield from self.cache.prepare(self._prompt(clip)))

    def transcribe(self, clip: SoundPart) -> Steps[str]:
        """Transcribe a whole clip, and forget it; where it is closed early, the clip is still held.

        The text is the likeliest, empty if the context has no room for it. A model that never ends
        is stopped at 12.5 tokens a second of sound, three times what the fastest speech takes.
        """
        config = self._model.config
        prompt = self._prompt(clip, open_reply=True)
        room = config.text_config.max_position_embeddings - len(prompt)
        if room < 1:
            self.reset()
            return ""
        yield from self.prepare()
        hidden, _ = yield from self.cache.feed(prompt)
        sampler = Sampler(temperature=0, suppress=config.suppress_tokens)
        limit = min(len(clip.frames) // 2 + _SPARE, room)
        parser, text = ReplyParser(self._tokenizer), ""
        with closing(self.cache.draw(hidden, sampler, limit)) as drawing:
            for count, token_id in enumerate(drawing):
                text += _text(parser.add(token_id))
                yield count, limit
        self.reset()
        return (text + _text(parser.finish())).strip()

    def transcribe_all(self, clips: Sequence[SoundPart]) -> Steps[str]:
        """Transcribe clips, cut where they are too long, as one text."""
        texts = []
        for clip in clips:
            for frames in cut(clip.frames, self.limit):
                texts.append((yield from self.transcribe(SoundPart(frames))))
        return " ".join(texts).strip()

    def reset(self) -> None:
        """Forget what was heard, and free the memory that it took."""
        if self._start is not None:
            self.cache.rewind(self._start)

    def _prompt(self, *clip: SoundPart, open_reply: bool = False) -> PromptRows:
        """The rows to feed; without `open_reply`, only to where more of the sound can follow."""
        turns, config = [Turn("user", (self._instruction, *clip))], self._model.config
        prompt = render(turns, self._tokenizer, config, open_reply=open_reply)
        if not open_reply:
            prompt = unfinished(prompt, self._tokenizer, config)
        return with_rows(prompt, turns, config)


def heard(steps: Steps[str], cancelled: Callable[[], bool]) -> Generator[Heard | None]:
    """Drive a transcript, unless it is cancelled; yields None after each step, then the text."""
    with closing(steps):
        while not cancelled():
            try:
                next(steps)
            except StopIteration as end:
                yield Heard(end.value)
                return
            yield None


def _text(events: Sequence[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))
