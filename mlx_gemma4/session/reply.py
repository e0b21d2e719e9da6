"""One reply while it is drawn: its events, the turn they make, and its numbers."""

import time
from collections.abc import Generator, Iterable

from ..chat.messages import Part, TextPart, Turn
from ..chat.parser import ReplyParser
from ..chat.tokenizer import Tokenizer
from ..events import Event, Thought, Token, ToolCall
from ..model.config import Config


class Answer:
    """Takes the ids of a reply as they are drawn.

    Args:
        tokenizer: for their text.
        config: for the ids that end a reply.

    Attributes:
        ids: what was drawn so far.
    """

    def __init__(self, tokenizer: Tokenizer, config: Config) -> None:
        self.ids: list[int] = []
        self._tokenizer = tokenizer
        self._config = config
        self._parser = ReplyParser(tokenizer)
        self._said: list[Event] = []
        self._times: list[float] = []

    def take(self, drawn: Iterable[int]) -> Generator[Event]:
        """Give the events of a reply while its ids come."""
        for token_id in drawn:
            self._times.append(time.perf_counter())
            self.ids.append(token_id)
            yield from self._tell(self._parser.add(token_id))
        yield from self._tell(self._parser.finish())

    @property
    def ended(self) -> bool:
        """Whether the model said that this is all."""
        return bool(self.ids) and self.ids[-1] in self._config.eos_token_ids

    def turn(self, interrupted: bool) -> Turn:
        """Give what was told so far as a turn of the model's."""
        thought = "".join(event.text for event in self._said if isinstance(event, Thought))
        text = "".join(event.text for event in self._said if isinstance(event, Token))
        calls = [event for event in self._said if isinstance(event, ToolCall)]
        parts: tuple[Part, ...] = (Thought(thought),) if thought else ()
        if text:
            parts = (*parts, TextPart(text))
        return Turn("model", (*parts, *calls), interrupted, self._text_ids() if text else ())

    def stats(self, began: float) -> dict[str, float]:
        """Give the numbers of this reply, whose prompt was begun at a `time.perf_counter`."""
        stats: dict[str, float] = {"reply_tokens": len(self.ids)}
        if self.ids:
            stats["seconds_to_first_token"] = self._times[0] - began
        if len(self.ids) > 1:
            seconds = self._times[-1] - self._times[0]
            stats["tokens_per_second"] = (len(self.ids) - 1) / seconds
        return stats

    def _tell(self, events: list[Event]) -> Generator[Event]:
        for event in events:
            self._said.append(event)
            yield event

    def _text_ids(self) -> tuple[int, ...]:
        """Give the ids of the text after the thought; none where control tokens are among them.

        Those mean nothing there and have no text, so the history does without them.
        """
        ids, controls = self.ids, self._tokenizer.controls
        if self.ended:
            ids = ids[:-1]
        if ids and ids[0] == controls.get("<|channel>"):
            end = controls.get("<channel|>")
            ids = ids[ids.index(end) + 1 :] if end in ids else []
        config = self._config
        never = {*controls.values(), *config.eos_token_ids}
        never |= {config.image_token_id, config.audio_token_id, config.video_token_id}
        return () if never & set(ids) else tuple(ids)
