"""The turns, what was added, and the caches that hold it: what a `Session` works on.

State is plain data (the turns, a pending turn) that is rendered as a whole at each step. The caches
follow it: what of a step they hold already is not fed again. Work that takes long is a generator:
whoever drives it may do other work between two steps.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

from ..chat.messages import INSTRUCTION, ImagePart, Part, SoundPart, Turn, VideoPart
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..events import ContextLow, Done, Dropped, Heard, Moved, Notice, ToolCall
from ..generation.drafting import Draft
from ..generation.prefill_decode import Cancelled, Steps
from ..generation.sampler import Sampler
from ..model.gemma4 import Gemma4
from .constrained import ReplyRules
from .pending_turn import PendingTurn, cut, held_once, medium_name, shortened
from .places import checkpoint_of, opening_of
from .prefix_cache import PrefixCache
from .prefix_store import PrefixStore
from .relayed import has_sound, heard_in, known_as_text, relayed
from .rendering import Rendering
from .reply import DrawnReplies, DrawnReply, Work, unless
from .rows import PromptRows
from .transcriber import CLIP, HearingMode, Transcriber

WhenFull = Literal["stop", "drop"]

PATIENCE = 5.0
"""Seconds that hearing a sound again may take for a picture that is added while it is spoken."""
_LOW = 8  # the context is low when less than one in so many of its rows is free,
_TIGHT = 16  # and then turns are dropped at once, not when there is time
_FEW = 64  # rows: more than what ends a question and opens its reply takes


class Conversation:
    """Arguments are those of `Session`.

    Attributes:
        pending: what was added since the last reply.
        notices: what was not yet reported.
        asked: the last turn, where its sound is text now and this was not yet reported.
        owner: whose parked rows the cache was filled with last.
    """

    def __init__(
        self,
        model: Gemma4,
        tokenizer: Tokenizer,
        drawn: DrawnReplies,
        hearing: HearingMode,
        kv_bits: int | None,
        thinking: bool,
        when_full: WhenFull,
        store: PrefixStore | None,
        context: int | None,
        draft: Draft = "off",
    ) -> None:
        self.turns: list[Turn] = []
        self.pending = PendingTurn()
        self.notices: list[Notice] = []
        self.cache = PrefixCache(model, kv_bits, draft)
        self.owner = ""
        self.asked: Turn | None = None
        self._model = model
        self._tokenizer = tokenizer
        self._hearing = hearing
        self._when_full = when_full
        self._context = context
        self._store = store
        self._look_in_store = False
        self._drawn, self.rendering = drawn, Rendering(tokenizer, model.config, thinking)
        package = getattr(model, "package", None)
        self._safe: int | None = package.audio_safe_position if package else None
        self._direct_to = self._safe if hearing == "auto" else None
        instruction: str = (package and package.transcribe) or INSTRUCTION
        self.transcriber = Transcriber(model, tokenizer, instruction, self._safe, draft)
        self._reported_low = False

    @property
    def rows(self) -> int:
        """How many rows the context has."""
        most = self._model.config.text_config.max_position_embeddings
        return min(most, self._context or most)

    @property
    def all_turns(self) -> list[Turn]:
        """The turns, and the pending one."""
        return [*self.turns, *self.pending.turns]

    @property
    def calls(self) -> list[ToolCall]:
        """The calls that the last turn ends with."""
        last = self.turns[-1:]
        return [part for turn in last for part in turn.parts if isinstance(part, ToolCall)]

    def open(self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]) -> None:
        """Replace the turns and tools; nothing is pending then."""
        self.rendering.open(tools)
        held = [replace(turn, parts=tuple(map(held_once, turn.parts))) for turn in turns]
        self.turns, self.pending = [*map(self._drawn.restored, held)], PendingTurn()
        if self._may_relay:
            self.turns = known_as_text(self.turns, self.prompt, self._direct_to, self._drawn.heard)
        text_now = has_sound(turns[-1:]) and not has_sound(self.turns[-1:])
        self.asked = turns[-1] if text_now else None
        self._look_in_store = self._store is not None
        self.transcriber.reset()

    def prompt(self) -> PromptRows:
        """Render everything up to where the reply starts."""
        return self.rendering.prompt(self.all_turns)

    def settled(self) -> PromptRows:
        """Render everything, as far as its rows stay the same whatever follows."""
        return self.rendering.settled(self.all_turns, bool(self.pending.turns))

    def unread(self) -> int:
        """How many rows of the conversation are in neither the cache nor the store."""
        settled = self.settled()
        self._fill_from_store(settled)
        return len(settled) - self.cache.shared(settled)

    def add(self, part: Part) -> None:
        """Add a part; one that is added while a sound is heard goes where the model expects it."""
        before, after = self.pending, self.pending.add(held_once(part))
        self.pending = after
        if isinstance(part, SoundPart) or before.relayed or not before.sounds:
            return
        lost = len(self.cache) - self.cache.shared(self.settled())
        speed = self.cache.rows_per_second
        if isinstance(part, ImagePart | VideoPart) and speed and lost / speed > PATIENCE:
            self.pending = replace(before, waiting=(*before.waiting, part))
            self.notices.append(Moved(medium_name(part), "next turn", 0))
        elif lost:
            self.notices.append(Moved(medium_name(part), "before the sound", lost))

    def listen(self) -> Steps[None]:
        """Hear the pending sound now."""
        self._choose()
        if self.pending.relayed:
            yield from self._transcribe_pending()
            if len(self.pending.live):
                yield from self.transcriber.hear(SoundPart(self.pending.live))
        else:
            self._make_room()
            near = self.rows - len(self.settled()) < _FEW
            self._room(self.prompt() if near else self.settled())
            yield from self._prepare()
        self.watch_context()

    def go_back(self) -> None:
        """Drop from the cache what is no longer part of the conversation."""
        self.cache.go_back(self.cache.shared(self.settled()))

    def read_ahead(self) -> Steps[bool]:
        """Do a piece of work that the next reply would have to do; return whether there was one."""
        self._choose()
        dropped = self._make_room(_LOW)
        fed = (yield from self._prepare()) if len(self.settled()) <= self.rows else 0
        if self.pending.is_empty:
            self.cache.keep()  # the next turn starts here
        if not fed and self._may_relay:
            fed = yield from self.transcriber.prepare()
        self.watch_context()
        return bool(dropped or fed)

    def check(self) -> None:
        """Raise Gemma4Error if there is nothing to answer or, as far as that is known, no room."""
        open_question = self.turns and self.turns[-1].role in ("user", "tool")
        if self.pending.is_empty and not open_question:
            raise Gemma4Error(
                "nothing_to_answer",
                "There is nothing to answer",
                "Nothing was added since the last reply.",
                "Add text, a picture or sound first.",
            )
        returned = {result.id for result in self.pending.results}
        missing = [call.id for call in self.calls if returned and call.id not in returned]
        if missing:
            raise Gemma4Error(
                "tool_result_missing",
                "A tool's result is missing",
                f"The model called {len(self.calls)} tools in one reply, and there is no result "
                f"of {', '.join(missing)}.",
                "Add the result of each call (add_tool_result).",
            )
        self.pending = self.pending.hear(self.limit)
        sound_takes_less = self.pending.relayed or (self._may_relay and self.pending.sounds)
        if self._when_full == "stop" and not sound_takes_less:
            self._room(self.prompt())

    def answer(
        self,
        sampler: Sampler,
        max_tokens: int | None,
        heard: bool,
        cancelled: Cancelled | None,
        rules: ReplyRules,
    ) -> Work[None]:
        """Answer what is pending; arguments and events are those of `Session.reply`."""
        started = time.perf_counter()
        yield from self.take_notices()
        self._choose()
        if self.pending.relayed:
            self.pending = self.pending.closed()
            done = yield from unless(cancelled, self._transcribe_pending(), quiet=True)
            if done is None:
                yield Done("cancelled")
                return
            understood = Heard(self.pending.heard, relayed=True)
            if self.pending.is_empty:  # nothing was, and nothing else is there
                self.pending = PendingTurn(parts=self.pending.waiting)
                yield from (understood, Done("silence"))
                return
            yield understood
        if self._may_relay and has_sound(self.turns):
            place = self.prompt, self._direct_to
            relay = relayed(self.turns, *place, self.transcriber, self._drawn.heard)
            turns = yield from unless(cancelled, relay, quiet=True)
            if turns is None:
                yield Done("cancelled")
                return
            if has_sound(self.turns[-1:]) and not has_sound(turns[-1:]):
                self.asked = self.turns[-1]
            self.turns = turns
        if self.asked is not None:
            yield Heard(heard_in(self.asked, self._drawn.heard), relayed=True)
            self.asked = None
        clips = self.pending.sounds if heard else ()
        self._make_room(answering=True)
        prompt = self.prompt()
        room = self._room(prompt)
        limit = room if max_tokens is None else min(max_tokens, room)
        yield from self.take_notices()
        prompt_started = time.perf_counter()
        self._fill_from_store(prompt)
        ids, continues = prompt.prompt.token_ids, self.all_turns[-1].role == "tool"
        header, opening = opening_of(ids, self._tokenizer, continues)
        reading = self.cache.feed(prompt, header, checkpoint_of(ids, self._tokenizer))
        fed = yield from unless(cancelled, reading, quiet=False)
        if fed is None:
            yield Done("cancelled")
            return
        hidden, new_tokens = fed
        constraint = None
        if rules.any:
            constraint = yield from unless(cancelled, rules.constraint(), quiet=True)
            if constraint is None:
                yield Done("cancelled")
                return
        seconds = time.perf_counter() - prompt_started
        reply = DrawnReply(self._tokenizer, self._model.config, opening, rules.stop)
        interrupted, turn = True, None
        try:
            with closing(self.cache.draw(hidden, sampler, limit, cancelled, constraint)) as drawn:
                yield from reply.take(drawn, sampler.scores)
            interrupted = not reply.ended and len(reply.ids) < limit
        finally:  # also where the iterator is closed in the middle of a reply
            if reply.ids:
                turn = reply.turn(interrupted)
                self._drawn.add(turn)
                self.turns = [*self.all_turns, turn]
                self.pending = PendingTurn(parts=self.pending.waiting)
        self.watch_context()
        yield from self.take_notices()
        if clips and not interrupted:
            # beside a picture the model would answer the sound instead of transcribing it
            steps = self.transcriber.transcribe_all(clips)
            transcript = yield from unless(cancelled, steps, quiet=True)
            if transcript is not None:
                yield Heard(transcript)
            self.transcriber.reset()
        stats = {
            "prompt_tokens": len(prompt),
            "new_prompt_tokens": new_tokens,
            "prompt_tokens_per_second": new_tokens / seconds,
            **reply.stats(started),
            **self.cache.drafting.stats,
        }
        full = "length" if limit == max_tokens else "context"
        reason = "stop" if reply.ended else "cancelled" if interrupted else full
        yield Done(reason, stats, turn.ids if turn else (), reply.stops.found)

    def parked(self) -> int:
        """How many rows of the conversation the store has, if more than the cache; else 0."""
        return self._store.longest(self.cache, self.settled().rows) if self._store else 0

    def park(self, owner: str) -> bool:
        """Park what the cache holds; return whether anything had to be written."""
        if self._store is None or not len(self.cache):
            return False
        return self._store.park(owner, self.cache)

    def watch_context(self) -> None:
        """Report, once, that the context is nearly full."""
        left = max(0, self.rows - len(self.cache))
        low = left < self.rows // _LOW
        if low and not self._reported_low:
            self.notices.append(ContextLow(left))
        self._reported_low = low

    def take_notices(self) -> list[Notice]:
        taken, self.notices = self.notices, []
        return taken

    @property
    def limit(self) -> int:
        """Frames of the longest clip that is heard here."""
        return self.transcriber.limit if self.pending.relayed else CLIP

    @property
    def _may_relay(self) -> bool:
        can_hear = self._model.config.audio_config is not None
        return can_hear and (
            self._hearing == "relay" or (self._hearing == "auto" and self._safe is not None)
        )

    def _choose(self) -> None:
        """Decide where pending sound is heard; once in the side context, it stays there."""
        if self.pending.relayed or not self.pending.sounds or not self._may_relay:
            return
        if self._hearing == "auto":
            assert self._safe is not None
            if len(self.settled()) <= self._safe:  # it ends with the sound
                return
        held = len(self.cache)
        self.pending = replace(self.pending, relayed=True)
        self.pending = self.pending.hear(self.transcriber.limit)  # it may be shorter
        self.go_back()
        if self._hearing == "auto":
            self.notices.append(Moved("sound", "relay", held - len(self.cache)))

    def _transcribe_pending(self) -> Steps[bool]:
        """Transcribe the pending clips that are finished, one after another."""
        while clip := next((p for p in self.pending.parts if isinstance(p, SoundPart)), None):
            first, *rest = map(SoundPart, cut(clip.frames, self.transcriber.limit))
            text = yield from self.transcriber.transcribe(first)
            at = self.pending.parts.index(clip)
            parts = (*self.pending.parts[:at], *rest, *self.pending.parts[at + 1 :])
            heard = f"{self.pending.heard} {text}".strip()
            self.pending = replace(self.pending, parts=parts, heard=heard)
        return True

    def _prepare(self) -> Steps[int]:
        settled = self.settled()
        self._fill_from_store(settled)
        return (yield from self.cache.prepare(settled))

    def _fill_from_store(self, new: PromptRows) -> None:
        """Load the parked rows of a conversation just opened, if the cache has fewer."""
        if self._look_in_store and self._store is not None:
            self.owner = self._store.fill(self.cache, new.rows) or ""
        self._look_in_store = False

    def _room(self, prompt: PromptRows) -> int:
        """Count the tokens that fit after a prompt; an error if there is no room for one."""
        room = self.rows - len(prompt)
        if room < 1:
            raise Gemma4Error(
                "context_full",
                "The conversation is too long",
                f"It has {len(prompt):,} tokens, and the context of this model holds "
                f"{self.rows:,}, the reply included.",
                "Shorten it, use fewer pictures or fewer tokens a picture, or start a new one.",
                {"tokens": len(prompt), "context": self.rows},
            )
        return room

    def _make_room(self, share: int = _TIGHT, answering: bool = False) -> int:
        """Drop the oldest turns if that is wanted, less than 1 / `share` of the rows is free, and
        what stays fits. The question that is open, or whose calls wait for results, stays.

        Returns:
            How many turns were dropped.
        """

        def free(turns: Sequence[Turn]) -> int:
            added = self.pending.turns
            if answering:
                return self.rows - len(self.rendering.prompt([*turns, *added]))
            return self.rows - len(self.rendering.settled([*turns, *added], bool(added)))

        if self._when_full == "stop" or free(self.turns) >= self.rows // share:
            return 0
        answered = not any(turn.role in ("user", "tool") for turn in self.turns[-1:])
        called = self.pending.results or (self.calls and not answering)
        stays = not (answered and self.pending.turns) or bool(called)
        fewer = shortened(self.turns, stays, free, self.rows - self.rows // 2)
        dropped = len(self.turns) - len(fewer)
        if dropped:
            self.turns = fewer
            self.notices.append(Dropped(dropped))
        return dropped
