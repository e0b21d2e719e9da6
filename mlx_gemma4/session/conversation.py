"""What was said and added, and the caches that hold it: what a `Session` works on.

State is plain data (the turns, a draft) that is rendered as a whole at each step. The caches follow
it: what of a step they hold already is not fed again.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Literal

from ..chat.messages import ImagePart, Part, SoundPart, Turn, VideoPart
from ..chat.render import Prompt, render, unfinished
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..events import ContextLow, Done, Dropped, Event, Heard, Moved, Notice
from ..generation.prefill_decode import Cancelled, Progress
from ..generation.sampler import Sampler
from ..model.gemma4 import Gemma4
from .pending_turn import Draft, cut, medium_name, without_oldest
from .prefix_cache import Timeline
from .reply import Answer
from .transcriber import CLIP, INSTRUCTION, Hearing, Relay

WhenFull = Literal["stop", "drop"]

PATIENCE = 5.0
"""Seconds that hearing a sound again may take for a picture that is given while it is spoken."""
_LOW = 8  # the context is low when less than one in so many of its rows is free,
_TIGHT = 16  # and then nobody can wait until there is time to drop turns


class Conversation:
    """Arguments are those of `Session`.

    Attributes:
        turns: what was said.
        draft: what was added since the last reply.
        notices: what nobody was told yet.
        timeline: the cache of all this.
    """

    def __init__(
        self,
        model: Gemma4,
        tokenizer: Tokenizer,
        turns: Sequence[Turn],
        hearing: Hearing,
        kv_bits: int | None,
        thinking: bool,
        when_full: WhenFull,
    ) -> None:
        self.turns = list(turns)
        self.draft = Draft()
        self.notices: list[Notice] = []
        self.timeline = Timeline(model, kv_bits)
        self._model = model
        self._tokenizer = tokenizer
        self._hearing = hearing
        self._thinking = thinking
        self._when_full = when_full
        package = getattr(model, "package", None)
        self._safe: int | None = package.audio_safe_position if package else None
        instruction: str = (package and package.transcribe) or INSTRUCTION
        self.relay = Relay(model, tokenizer, instruction, self._safe)
        self._told_low = False

    @property
    def rows(self) -> int:
        """How many rows the context has."""
        return self._model.config.text_config.max_position_embeddings

    @property
    def all_turns(self) -> list[Turn]:
        """The turns, with the draft as the last."""
        turn = self.draft.turn()
        return [*self.turns, turn] if turn else self.turns

    def prompt(self) -> Prompt:
        """Render everything up to where the reply begins."""
        return self._render(self.all_turns, True)

    def settled(self) -> tuple[Prompt, list[Turn]]:
        """Render everything as far as it stands, whatever follows; and the turns it is made of."""
        turns = self.all_turns
        if not turns:
            return Prompt([], [], [], []), []
        prompt = self._render(turns, False)
        if len(turns) > len(self.turns):
            prompt = unfinished(prompt, self._tokenizer, self._model.config)
        return prompt, turns

    def add(self, part: Part) -> None:
        """Add a part; one that is given while a sound is heard goes where the model expects it."""
        before, after = self.draft, self.draft.add(part)
        self.draft = after
        if isinstance(part, SoundPart) or before.relayed or not before.sounds:
            return
        lost = len(self.timeline) - self.timeline.shared(*self.settled())
        speed = self.timeline.rows_per_second
        if isinstance(part, ImagePart | VideoPart) and speed and lost / speed > PATIENCE:
            self.draft = replace(before, waiting=(*before.waiting, part))
            self.notices.append(Moved(medium_name(part), "next turn", 0))
        elif lost:
            self.notices.append(Moved(medium_name(part), "before the sound", lost))

    def listen(self) -> None:
        """Hear what the draft holds of sound, now."""
        self._choose()
        if self.draft.relayed:
            self._write_down()
            if len(self.draft.live):
                self.relay.hear(SoundPart(self.draft.live))
        else:
            self._make_room()
            self.timeline.prepare(*self.settled())
        self.watch_context()

    def go_back(self) -> None:
        """Drop from the cache what is no part of the conversation now."""
        self.timeline.go_back(self.timeline.shared(*self.settled()))

    def work_ahead(self, cancelled: Cancelled | None) -> bool:
        """Do one piece of work that the next reply would have to do; tell whether there was one."""
        self._choose()
        dropped = self._make_room(_LOW)
        fed = self.timeline.prepare(*self.settled(), cancelled)
        if self.draft.is_empty:
            self.timeline.keep()  # the next turn begins here
        if not fed and self._may_relay:
            fed = self.relay.prepare()
        self.watch_context()
        return bool(dropped or fed)

    def check(self) -> None:
        """Raise Gemma4Error if there is nothing to answer or, as far as that is known, no room."""
        if self.draft.is_empty:
            raise Gemma4Error(
                "nothing_to_answer",
                "There is nothing to answer",
                "Nothing was added since the last reply.",
                "Add text, a picture or sound first.",
            )
        self.draft = self.draft.hear(self.limit)
        sound_takes_less = self.draft.relayed or (self._may_relay and self.draft.sounds)
        if self._when_full == "stop" and not sound_takes_less:
            self._room(self.prompt())

    def answer(
        self,
        sampler: Sampler,
        max_tokens: int | None,
        heard: bool,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> Generator[Event]:
        """Answer the draft; arguments and events are those of `Session.reply`."""
        began = time.perf_counter()
        yield from self.told()
        self._choose()
        if self.draft.relayed:
            self.draft = self.draft.closed()
            if not self._write_down(cancelled):
                yield Done("cancelled")
                return
            text = self.draft.heard
            silence = self.draft.is_empty  # nothing was understood, and nothing else is there
            if silence:
                self.draft = Draft(parts=self.draft.waiting)
            yield Heard(text)
            if silence:
                yield Done("silence")
                return
        clips = self.draft.sounds if heard else ()
        self._make_room()
        prompt = self.prompt()
        room = self._room(prompt)
        limit = room if max_tokens is None else min(max_tokens, room)
        yield from self.told()
        began_prompt = time.perf_counter()
        opening = self._tokenizer.token_id("<|turn>")
        keep = len(prompt.token_ids) - 1 - prompt.token_ids[::-1].index(opening)
        logits, new_tokens = self.timeline.feed(prompt, self.all_turns, progress, cancelled, keep)
        if logits is None:
            yield Done("cancelled")
            return
        seconds = time.perf_counter() - began_prompt
        answer = Answer(self._tokenizer, self._model.config)
        interrupted = True
        try:
            with closing(self.timeline.say(logits, sampler, limit, cancelled)) as drawn:
                yield from answer.take(drawn)
            interrupted = not answer.ended and len(answer.ids) < limit
        finally:  # also where the iterator is closed in the middle of a reply
            if answer.ids:
                self.turns = [*self.all_turns, answer.turn(interrupted)]
                self.draft = Draft(parts=self.draft.waiting)
        self.watch_context()
        yield from self.told()
        if clips and not interrupted and (said := self._transcript(clips, cancelled)) is not None:
            yield Heard(said)
        stats = {
            "prompt_tokens": len(prompt.token_ids),
            "new_prompt_tokens": new_tokens,
            "prompt_tokens_per_second": new_tokens / seconds,
            **answer.stats(began),
        }
        full = "length" if limit == max_tokens else "context"
        yield Done("stop" if answer.ended else "cancelled" if interrupted else full, stats)

    def watch_context(self) -> None:
        """Tell, once, that the context is nearly full."""
        left = self.rows - len(self.timeline)
        low = left < self.rows // _LOW
        if low and not self._told_low:
            self.notices.append(ContextLow(left))
        self._told_low = low

    def told(self) -> list[Notice]:
        """Take the notices."""
        taken, self.notices = self.notices, []
        return taken

    @property
    def limit(self) -> int:
        """Frames of the longest clip that is heard here."""
        return self.relay.limit if self.draft.relayed else CLIP

    @property
    def _may_relay(self) -> bool:
        can_hear = self._model.config.audio_config is not None
        return can_hear and (
            self._hearing == "relay" or (self._hearing == "auto" and self._safe is not None)
        )

    def _choose(self) -> None:
        """Decide where the draft's sound is heard; once in the relay, it stays there."""
        if self.draft.relayed or not self.draft.sounds or not self._may_relay:
            return
        if self._hearing == "auto":
            assert self._safe is not None
            if len(self.settled()[0].token_ids) <= self._safe:  # it ends with the sound
                return
        held = len(self.timeline)
        self.draft = replace(self.draft, relayed=True)
        self.draft = self.draft.hear(self.relay.limit)  # it may be shorter
        self.go_back()
        if self._hearing == "auto":
            self.notices.append(Moved("sound", "relay", held - len(self.timeline)))

    def _write_down(self, cancelled: Cancelled | None = None) -> bool:
        """Write down, in the relay, the clips that are finished; False if cancelled."""
        while clip := next((p for p in self.draft.parts if isinstance(p, SoundPart)), None):
            first, *rest = map(SoundPart, cut(clip.frames, self.relay.limit))
            text = self.relay.transcript(first, cancelled)
            if text is None:
                return False
            at = self.draft.parts.index(clip)
            parts = (*self.draft.parts[:at], *rest, *self.draft.parts[at + 1 :])
            self.draft = replace(self.draft, parts=parts, heard=_joined(self.draft.heard, text))
        return True

    def _transcript(self, clips: Sequence[SoundPart], cancelled: Cancelled | None) -> str | None:
        """Write down sound that lies in the conversation, in the relay; None if cancelled.

        Beside a picture the model would answer what is said instead of writing it down.
        """
        said = ""
        for frames in (part for clip in clips for part in cut(clip.frames, self.relay.limit)):
            text = self.relay.transcript(SoundPart(frames), cancelled)
            if text is None:
                self.relay.rest()
                return None
            said = _joined(said, text)
        return said

    def _room(self, prompt: Prompt) -> int:
        """Count the tokens that fit after a prompt; an error if there is no room for one."""
        room = self.rows - len(prompt.token_ids)
        if room < 1:
            raise Gemma4Error(
                "context_full",
                "The conversation is too long",
                f"It has {len(prompt.token_ids):,} tokens, and the context of this model holds "
                f"{self.rows:,}, the reply included.",
                "Shorten it, give fewer pictures or fewer tokens a picture, or start a new one.",
            )
        return room

    def _make_room(self, share: int = _TIGHT) -> int:
        """Take the oldest turns out where that is wanted and less than a share is free.

        Returns:
            How many turns were dropped.
        """
        if self._when_full == "stop":
            return 0
        before, length = self.turns, len(self.settled()[0].token_ids)
        if self.rows - length >= self.rows // share:
            return 0
        while length > self.rows // 2:
            fewer = without_oldest(self.turns)
            if len(fewer) == len(self.turns):
                break
            self.turns = fewer
            length = len(self.settled()[0].token_ids)
        dropped = len(before) - len(self.turns)
        if dropped:
            self.notices.append(Dropped(dropped))
        return dropped

    def _render(self, turns: Sequence[Turn], open_reply: bool) -> Prompt:
        return render(
            turns,
            self._tokenizer,
            self._model.config,
            thinking=self._thinking,
            open_reply=open_reply,
        )


def _joined(before: str, text: str) -> str:
    return f"{before} {text}".strip()
