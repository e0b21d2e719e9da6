"""One reply while it is drawn: its events, the turn they make, its ids, and its numbers."""

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

from ..chat.messages import Part, TextPart, Turn
from ..chat.parser import ReplyParser
from ..chat.tokenizer import Tokenizer
from ..events import Event, Scores, Thought, Token, ToolCall
from ..generation.prefill_decode import Cancelled, Steps
from ..model.config import Config
from .stops import StopTexts

Result = TypeVar("Result")
Work = Generator[Event | tuple[int, int] | None, None, Result]
"""Yields events; (tokens fed, tokens to feed) after a chunk of the prompt; None after any other."""

_MOST = 2000  # keys of replies whose ids are remembered


class DrawnReply:
    """Takes the ids of a reply as they are drawn.

    Args:
        opening: ids of the prompt after the header of the model's turn (an empty thought).
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: Config,
        opening: Sequence[int] = (),
        stop: Sequence[str] = (),
    ) -> None:
        self.ids: list[int] = []
        self._tokenizer = tokenizer
        self._config = config
        self._opening = tuple(opening)
        self._parser = ReplyParser(tokenizer, pieces=True)
        self._events: list[Event] = []
        self._times: list[float] = []
        self._started = 0.0
        self.stops = StopTexts(stop)
        self._thought = 0  # tokens

    def take(self, drawn: Iterable[int], scores: list[Any] | None = None) -> Generator[Event]:
        """Yield the events of a reply while its ids come, and `Sampler.scores` of its answer."""
        self._started = time.perf_counter()
        for token_id in drawn:
            self._times.append(time.perf_counter())
            self.ids.append(token_id)
            events = self._parser.add(token_id)
            if scores:
                ids, logs = scores.pop(0)
                if not self._parser.inside and self._tokenizer.token_bytes(token_id):
                    names = map(self._tokenizer.spelling, ids.tolist())
                    first, *others = zip(names, logs.tolist(), strict=True)
                    yield Scores(first, tuple(others))
            yield from self._note(self.stops.passed(events))
            self._thought += self._parser.thinking
            if self.stops.found:
                return
        yield from self._note(self.stops.passed(self._parser.finish(), last=True))

    @property
    def ended(self) -> bool:
        """Whether the model ended its turn, or a text that ends it has come."""
        ends = {*self._config.eos_token_ids, self._tokenizer.controls.get("<|tool_response>")}
        return bool(self.stops.found or (self.ids and self.ids[-1] in ends))

    def turn(self, interrupted: bool) -> Turn:
        """What was yielded so far, as a model turn."""
        thought = "".join(event.text for event in self._events if isinstance(event, Thought))
        text = "".join(event.text for event in self._events if isinstance(event, Token))
        calls = [event for event in self._events if isinstance(event, ToolCall)]
        parts: tuple[Part, ...] = (Thought(thought),) if thought else ()
        if text:
            parts = (*parts, TextPart(text))
        ids = self._kept_ids(len(calls)) if text or calls else ()
        return Turn("model", (*parts, *calls), interrupted, ids)

    def stats(self, started: float) -> dict[str, float]:
        """The numbers of this reply, whose work started at a `time.perf_counter`."""
        stats: dict[str, float] = {"reply_tokens": len(self.ids), "thought_tokens": self._thought}
        if self.ids:
            stats["seconds_to_first_token"] = self._times[0] - started
        if len(self.ids) > 1:
            # from before the first: several may come at once
            seconds = self._times[-1] - self._started
            stats["tokens_per_second"] = (len(self.ids) - 1) / seconds
        return stats

    def _note(self, events: list[Event]) -> Generator[Event]:
        for event in events:
            self._events.append(event)
            yield event

    def _kept_ids(self, calls: int) -> tuple[int, ...]:
        """The ids that the history keeps (`Turn.ids`); none where it cannot keep them all.

        Control tokens that mean nothing have no text, so the history does without them.
        """
        ids, controls = self.ids, self._tokenizer.controls
        if self.stops.found or self.stops.holds:  # they hold more than the text
            return ()
        if self.ended:
            ids = ids[:-1]
        thought: list[int] = []
        if ids and ids[0] == controls.get("<|channel>"):
            end = controls.get("<channel|>")
            stop = ids.index(end) + 1 if end in ids else len(ids)
            thought, ids = ids[:stop], ids[stop:]
        outside = ids
        if calls:
            opening, end = controls["<|tool_call>"], controls["<tool_call|>"]
            if not ids.count(opening) == ids.count(end) == calls:
                return ()
            outside, inside = [], False
            for token_id in ids:
                inside = inside or token_id == opening
                if not inside:
                    outside.append(token_id)
                inside = inside and token_id != end
        config = self._config
        never = {*controls.values(), *config.eos_token_ids}
        never |= {config.image_token_id, config.audio_token_id, config.video_token_id}
        if never & set(outside):
            return ()
        return (*(thought if calls else () if thought else self._opening), *ids)


_MARK = json.dumps("\ufffd").strip('"')
"""The placeholder of bytes that are no letter, as `_content` writes it."""


class DrawnReplies:
    """The ids of replies by what they hold, for a client that sends a conversation back.

    Args:
        tokenizer: ids of another tokenizer are of no use.
        config: for the ids that no reply may hold.

    Attributes:
        heard: what was understood of sounds, by their digests.
    """

    def __init__(self, tokenizer: Tokenizer, config: Config) -> None:
        self.heard: dict[str, str] = {}
        self._tokenizer = tokenizer
        self._media = {config.image_token_id, config.audio_token_id, config.video_token_id}
        self._turns: dict[str, Turn] = {}

    def add(self, turn: Turn) -> None:
        """Remember a reply; the oldest of very many are forgotten."""
        for key in _keys(turn) if turn.ids else ():
            self._turns[key] = turn
            if len(self._turns) > _MOST:
                del self._turns[next(iter(self._turns))]

    def restored(self, turn: Turn) -> Turn:
        """The turn with the ids that it was drawn with, if known.

        A thought is what its own conversation holds: only calls bring theirs, by their ids.
        Ids that are not those of its text and calls, as after a change of the model, are left out.
        """
        if turn.role != "model":
            return turn
        known = next((self._turns[key] for key in _keys(turn) if key in self._turns), None)
        if turn.ids and (known is None or known.ids != turn.ids):
            if not self._fit(turn):
                return replace(turn, ids=())
            self.add(turn)
        if turn.ids or known is None:
            return turn
        if not any(isinstance(part, ToolCall) for part in turn.parts):
            return replace(turn, ids=known.ids)
        thoughts = tuple(part for part in known.parts if isinstance(part, Thought))
        rest = tuple(part for part in turn.parts if not isinstance(part, Thought))
        return replace(turn, parts=(*thoughts, *rest), ids=known.ids)

    def _fit(self, turn: Turn) -> bool:
        """Whether the ids of a turn are its text and its calls in this tokenizer."""
        ids, parser = turn.ids, ReplyParser(self._tokenizer)
        if self._media & set(ids) or not 0 <= min(ids) <= max(ids) < self._tokenizer.vocab_size:
            return False
        parsed = [event for token_id in ids for event in parser.add(token_id)] + parser.finish()
        text = "".join(event.text for event in parsed if isinstance(event, Token))
        calls = [event for event in parsed if isinstance(event, ToolCall)]
        read, said = (_content(one) for one in (Turn("model", (TextPart(text), *calls)), turn))
        # bytes of a letter that a cancelled reply did not finish are one mark or several
        return read.replace(_MARK, "") == said.replace(_MARK, "")


def unless(cancelled: Cancelled | None, steps: Steps[Result], quiet: bool) -> Work[Result | None]:
    """Drive steps unless cancelled, and yield each, or None if `quiet`; None where cancelled.

    After the last of them there is nothing left to cancel.
    """
    left = 1
    with closing(steps):
        while not left or cancelled is None or not cancelled():
            try:
                done, total = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            left = total - done
            yield None if quiet else (done, total)
    return None


def _keys(turn: Turn) -> list[str]:
    """What a reply is found by: its calls' ids with what it holds, and that alone.

    Ids of calls hold the thought before them, which another conversation's must not bring.
    """
    content = _content(turn)
    ids = [part.id for part in turn.parts if isinstance(part, ToolCall)]
    thought = any(isinstance(part, Thought) for part in turn.parts)
    by_calls = [f"{ids} {content}"] if ids else []
    return by_calls if by_calls and thought else [*by_calls, content]


def _content(turn: Turn) -> str:
    text = "".join(part.text for part in turn.parts if isinstance(part, TextPart))
    calls = [[p.name, _plain(p.arguments)] for p in turn.parts if isinstance(p, ToolCall)]
    return json.dumps([text.strip(), calls], sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    """Arguments as they may come back: JavaScript writes 2.0 as 2."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value
