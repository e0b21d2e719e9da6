"""Items of a conversation as commands to a worker: what is new as it comes, else all of it. Pure.

A worker appends. What is added at the end is sent at once, so that it is read before a reply is
asked for. Any other change (an item deleted, inserted or truncated, other instructions or tools)
opens the conversation with its new turns; what the caches hold of them is not read again. While a
reply is drawn the conversation is not known yet, and such a change waits for the reply's end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...events import Done, ToolCall
from ...runtime.commands import (
    AddText,
    AddToolResult,
    Command,
    EndSpeech,
    Hear,
    Open,
    PastTurn,
    Reply,
    SessionSettings,
)
from .items import ItemPart, RealtimeItem, tool_calls
from .sound_input import FRAME_MS

Frames = NDArray[np.float32]

LIVE_FRAMES = 120_000 // FRAME_MS
"""Frames of an utterance that are read as they come; a longer one's rest is read at its end."""


class ConversationFeed:
    """The items of one conversation, and the commands that keep the worker's in the same state.

    Args:
        conversation: the worker's name for it.
        live: read sound and items as they come; else when a reply is asked for (`--hearing off`).

    Attributes:
        items: in order.
        settings: how the worker holds the conversation; `change` sets them.
        draft: frames of the utterance that is not committed yet.
        answering: whether a reply is drawn.
    """

    def __init__(self, conversation: str, settings: SessionSettings, live: bool = True) -> None:
        self.items: list[RealtimeItem] = []
        self.settings = settings
        self.draft: list[Frames] = []
        self.answering = False
        self._conversation = conversation
        self._live = live
        self._tools: tuple[Mapping[str, Any], ...] = ()
        self._drawn: dict[tuple[str, ...], tuple[int, ...]] = {}  # items of a reply -> its ids
        self._first = self._place = 0  # of the reply's items, and where the next one goes
        self._extra = ""  # instructions for one reply
        self._sent = 0  # frames of the draft that the worker has
        self._stale = True  # the worker's conversation is another, or is not open

    @property
    def draft_frames(self) -> int:
        return sum(map(len, self.draft))

    def speech(self) -> Frames:
        """The draft's frames (n, 640)."""
        return np.concatenate(self.draft)

    def question_start(self) -> int:
        """Return the place of the first item after the last answer, before a reply adds any."""
        return self._answer_end(self._place if self.answering else len(self.items))

    def _answer_end(self, end: int) -> int:
        """Return where the last answer before a place ends."""
        while end and self.items[end - 1].role != "model":
            end -= 1
        return end

    def find(self, item_id: str) -> RealtimeItem | None:
        return next((item for item in self.items if item.id == item_id), None)

    def before(self, item_id: str) -> str | None:
        """Return the id of the item before this one; None if it is the first."""
        ids = [item.id for item in self.items]
        at = ids.index(item_id)
        return ids[at - 1] if at else None

    def change(
        self, settings: SessionSettings, tools: Sequence[Mapping[str, Any]]
    ) -> list[Command]:
        """Change the conversation's settings and tools."""
        if settings == self.settings and tuple(tools) == self._tools:
            return []
        self.settings, self._tools = settings, tuple(tools)
        return self.rewrite()

    def rewrite(self) -> list[Command]:
        """Open the conversation again, because something before its end has changed."""
        self._stale = True
        return self._open()

    def lost(self, answering: bool) -> None:
        """Note that the worker lost the conversation; it is opened when needed.

        Args:
            answering: a reply that was asked for since is drawn.
        """
        self._stale, self.answering = True, answering

    def add(self, item: RealtimeItem, place: int) -> list[Command]:
        last = place == len(self.items)
        self.items.insert(place, item)
        self._place += place < self._place
        if not last or self._stale or not self._appends(item):
            return self.rewrite()
        return [self._command(part) for part in item.parts]

    def replace(self, item: RealtimeItem) -> list[Command]:
        """Replace the item that has this item's id."""
        self.swap(item)
        return self.rewrite()

    def swap(self, item: RealtimeItem) -> None:
        """As `replace`, where the worker has the item already: a sound that is heard as text."""
        at = [one.id for one in self.items].index(item.id)
        self.items[at] = item

    def delete(self, item_id: str) -> list[Command]:
        at = [one.id for one in self.items].index(item_id)
        del self.items[at]
        self._place -= at < self._place
        return self.rewrite()

    def hear(self, frames: Frames) -> list[Command]:
        """Take frames (n, 640) of the utterance that is spoken."""
        self.draft.append(frames)
        return self._open() if self._stale else self._hear()

    def commit(self, item: RealtimeItem) -> list[Command]:
        """End the utterance, which becomes this item."""
        self._stale = self._stale or not self._live  # then it is sent with the reply
        ended = EndSpeech(conversation=self._conversation)
        commands = [] if self._stale else [*self._hear(ended=True), ended]
        self.draft, self._sent = [], 0
        self.items.append(item)
        return commands

    def clear(self) -> list[Command]:
        """Forget the utterance that is not committed."""
        sent, self.draft, self._sent = self._sent, [], 0
        return self.rewrite() if sent else []

    def reply(self, reply: Reply, extra: str = "") -> list[Command]:
        """Answer the items; what is spoken and not committed is not part of them.

        Args:
            reply: the command.
            extra: instructions for this reply alone, at its question's end.
        """
        self._stale = self._stale or self._sent > 0 or bool(_some_results(*self._turns()[1:]))
        draft, self.draft, self._sent = self.draft, [], 0
        commands = self._open(answered=True)
        if extra:
            self._extra = extra
            commands.append(AddText(extra, conversation=self._conversation))
        commands.append(replace(reply, conversation=self._conversation))
        self.draft = draft
        self.answering, self._first = True, len(self.items)
        self._place = self._first
        return [*commands, *self._hear()]

    def draw(self, item: RealtimeItem) -> None:
        """Insert an item of the reply after what it answers, before what was added meanwhile."""
        self.items.insert(self._place, item)
        self._place += 1

    def answered(self, items: Sequence[RealtimeItem], done: Done | None) -> list[Command]:
        """End the reply.

        Args:
            items: what it added, by `draw`.
            done: its end; None where it failed.
        """
        self.answering = False
        if done is not None and done.ids:
            self._drawn[tuple(item.id for item in items)] = done.ids
        extra, self._extra = self._extra, ""
        if extra or not items or done is None:  # a reply without items may have left a turn
            self._stale = True
        return self._open() if self._stale else []

    @property
    def answerable(self) -> bool:
        """Whether there is a question: the last item is not the model's."""
        rest = [item for item in self.items if item.parts]
        return bool(rest) and rest[-1].role != "model"

    def _appends(self, item: RealtimeItem) -> bool:
        """Whether the worker can add this at the end."""
        before = {one.role for one in self.items[:-1]}
        if item.role != "user" or before == {"system"}:  # these become its instructions
            return False
        calls = {call.id for call in tool_calls(self._last_reply())}
        results = [part for part in item.parts if isinstance(part, AddToolResult)]
        return all(result.call_id in calls for result in results)

    def _last_reply(self) -> list[RealtimeItem]:
        if self.answering:
            return self.items[self._first : self._place]
        start = end = self._answer_end(len(self.items))
        while start and self.items[start - 1].role == "model":
            start -= 1
        return self.items[start:end]

    def _hear(self, ended: bool = False) -> list[Command]:
        """Return the command that sends the draft's unsent frames, if they are due."""
        if not self.draft or not (ended or (self._live and self._sent < LIVE_FRAMES)):
            return []
        frames = np.concatenate(self.draft)[self._sent :]
        self._sent += len(frames)
        return [Hear(frames, conversation=self._conversation)] if len(frames) else []

    def _command(self, part: ItemPart) -> Command:
        assert not isinstance(part, ToolCall)
        return replace(part, conversation=self._conversation)

    def _open(self, answered: bool = False) -> list[Command]:
        """Open the conversation as it is, unless the worker has it already or a reply is drawn.

        Args:
            answered: it is answered at once: a call whose result is missing is waited for no more.
        """
        if not self._stale or self.answering:
            return []
        self._stale, self._sent = False, 0
        system, turns, question = self._turns()
        if answered and (results := _some_results(turns, question)):
            turns = (*turns, PastTurn("user", results))
            question = [part for part in question if not isinstance(part, AddToolResult)]
        settings = replace(self.settings, system=system or None)
        opening = Open(turns, settings, self._tools, self._live, conversation=self._conversation)
        return [opening, *map(self._command, question), *self._hear()]

    def _turns(self) -> tuple[str, tuple[PastTurn, ...], list[ItemPart]]:
        """Return the instructions, the turns up to the last answer, and the question's parts."""
        items = [item for item in self.items if item.parts]
        instructions = [self.settings.system] if self.settings.system else []
        while len(items) > 1 and items[0].role == "system":
            instructions += [part.text for part in items[0].parts if isinstance(part, AddText)]
            del items[0]
        turns: list[PastTurn] = []
        question: list[ItemPart] = []
        for answers, run in groupby(items, lambda item: item.role == "model"):
            group = list(run)
            if answers:
                if question:
                    turns.append(PastTurn("user", tuple(question)))
                    question = []
                parts = tuple(part for item in group for part in item.parts)
                ids = self._drawn.get(tuple(item.id for item in group), ())
                cut = any(item.shown.get("status") == "incomplete" for item in group)
                turns.append(PastTurn("model", parts, ids, interrupted=cut))
            else:
                question += self._answers([part for item in group for part in item.parts], turns)
        return "\n\n".join(instructions), tuple(turns), question

    def _answers(self, parts: Sequence[ItemPart], turns: Sequence[PastTurn]) -> Iterator[ItemPart]:
        """Yield the parts; a tool's result that comes late, or answers no call, becomes text."""
        last = turns[-1].parts if turns else ()
        calls = {part.id for part in last if isinstance(part, ToolCall)}
        for part in parts:
            if isinstance(part, AddToolResult) and part.call_id not in calls:
                yield AddText(f"The tool call {part.call_id} returned: {part.content}")
            else:
                yield part


def _some_results(
    turns: Sequence[PastTurn], question: Sequence[ItemPart]
) -> tuple[AddToolResult, ...]:
    """Return the results of the last turn's calls, where others are missing."""
    calls = {part.id for turn in turns[-1:] for part in turn.parts if isinstance(part, ToolCall)}
    results = tuple(part for part in question if isinstance(part, AddToolResult))
    return () if calls <= {result.call_id for result in results} else results
