"""Where sound is heard: in the conversation, or in a side context that gives it as text (relay).

The 12B understands sound badly that lies past some position of its context
(`audio_safe_position` in Package.toml). There the relay hears it: a short instruction is read once
and marked, the frames stream in after it while they are spoken, and the transcript is drawn at the
end. Sound that lies in the conversation is written down here too, after the answer, where that is
asked for.
"""

from typing import Literal

from ..chat.messages import SoundPart, TextPart, Turn
from ..chat.parser import ReplyParser
from ..chat.render import Prompt, render, unfinished
from ..chat.tokenizer import Tokenizer
from ..events import Token
from ..generation.prefill_decode import Cancelled
from ..generation.sampler import Sampler
from ..media.audio import FRAME, LIMIT_SECONDS, RATE
from ..model.gemma4 import Gemma4
from .prefix_cache import Mark, Timeline

Hearing = Literal["auto", "direct", "relay"]

CLIP = int(LIMIT_SECONDS * RATE / FRAME)
"""Frames of the longest clip the model was made for."""

INSTRUCTION = (
    "Transcribe the following speech segment in its original language. "
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, "
    "and write 3 instead of three."
)
"""What asks for a transcript (model card of google/gemma-4-12B-it, the example with sound).

A package of the catalogue may have words of its own: the tiny model was not trained on these.
"""

_SPARE = 16  # tokens that a transcript may have besides one for each two frames


class Relay:
    """A side context that hears one clip after another and writes each down.

    Args:
        model: who hears.
        tokenizer: its tokenizer.
        instruction: what asks for the transcript.
        safe: the position before which sound should end; None if it does not matter.
    """

    def __init__(
        self, model: Gemma4, tokenizer: Tokenizer, instruction: str, safe: int | None
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._words = TextPart(instruction)
        self._timeline = Timeline(model)
        self._start: Mark | None = None
        head = self._beginning()
        self.limit = CLIP if safe is None else max(min(CLIP, safe - len(head.token_ids) - 1), 1)
        """Frames of the longest clip it hears."""

    @property
    def nbytes(self) -> int:
        """Bytes of its cache."""
        return self._timeline.nbytes

    def prepare(self) -> int:
        """Read the instruction, if that was not done before; give the rows that were fed."""
        if self._start is not None:
            return 0
        fed = self._timeline.prepare(self._beginning(), [Turn("user", (self._words,))])
        self._start = self._timeline.mark()
        return fed

    def hear(self, clip: SoundPart) -> int:
        """Make the side context hold a clip as far as it was spoken; feeds only what is new.

        Returns:
            How many rows were fed.
        """
        self.prepare()
        turns = [Turn("user", (self._words, clip))]
        return self._timeline.prepare(self._open(turns), turns)

    def transcript(self, clip: SoundPart, cancelled: Cancelled | None = None) -> str | None:
        """Write down a whole clip, and forget it; None if cancelled, with the clip still held.

        It is the likeliest text, empty if the context has no room for it. A model that runs on is
        stopped at 12.5 tokens a second of sound, three times as many as the fastest speech takes.
        """
        turns = [Turn("user", (self._words, clip))]
        prompt, config = self._render(turns, True), self._model.config
        room = config.text_config.max_position_embeddings - len(prompt.token_ids)
        if room < 1:
            self.rest()
            return ""
        self.prepare()
        logits, _ = self._timeline.feed(prompt, turns, cancelled=cancelled)
        if logits is None:
            return None
        sampler = Sampler(temperature=0, suppress=config.suppress_tokens)
        limit = min(len(clip.frames) // 2 + _SPARE, room)
        ids = list(self._timeline.say(logits, sampler, limit, cancelled))
        if len(ids) < limit and not (ids and ids[-1] in config.eos_token_ids):
            return None
        parser = ReplyParser(self._tokenizer)
        events = [event for token_id in ids for event in parser.add(token_id)] + parser.finish()
        self.rest()
        return "".join(event.text for event in events if isinstance(event, Token)).strip()

    def rest(self) -> None:
        """Forget what was heard, and give the memory back that it took."""
        if self._start is not None:
            self._timeline.rewind(self._start)

    def _beginning(self) -> Prompt:
        """The instruction, with nothing heard yet."""
        return self._open([Turn("user", (self._words,))])

    def _open(self, turns: list[Turn]) -> Prompt:
        return unfinished(self._render(turns, False), self._tokenizer, self._model.config)

    def _render(self, turns: list[Turn], open_reply: bool) -> Prompt:
        return render(turns, self._tokenizer, self._model.config, open_reply=open_reply)
