"""A conversation: turns are added, replies come as events, and nothing is read twice."""

import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..chat.messages import TextPart, Turn
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..events import CallText, Event, Notice
from ..generation.drafting import Draft
from ..generation.prefill_decode import Cancelled, Progress, Steps, finish
from ..generation.sampler import Sampler, out_of_range
from ..media.images import check_budget
from ..model.config import unknown_setting
from ..model.gemma4 import Gemma4
from . import persistence
from .caches import SessionCaches
from .constrained import ReplyRules, tokenizer_of
from .conversation import Conversation, WhenFull
from .pending_turn import PendingTurn, listed
from .prefix_cache import PrefixMark
from .prefix_store import PrefixStore
from .reply import DrawnReplies, Work
from .transcriber import HearingMode


@dataclass(frozen=True, eq=False)
class SessionMark:
    """A place in a conversation, for `Session.rewind`."""

    session: "Session"
    turns: tuple[Turn, ...]
    pending: PendingTurn
    place: PrefixMark
    tools: tuple[Mapping[str, Any], ...]
    asked: Turn | None


class Session(SessionCaches):
    """A conversation with a model.

    Text, pictures and sound are added in any order; `reply` answers what was added since the last
    reply. While a reply is being read, any other call ends it, and what was drawn stays; but no
    call is possible from inside a callback. What takes long has a form in steps beside it
    (`replying`, `listening`, `reading`), so that one thread can serve several sessions.

    Args:
        model: from `load`.
        system: an instruction before the conversation.
        turns: the conversation so far, as `turns` returns it. It is read with the first reply, or
            by `reading`; what `store` holds of it is not read again.
        tools: what the model may call, as in OpenAI's chat completions: {"type": "function",
            "function": {"name", "description", "parameters"}}.
        image_tokens: the most tokens a picture may take; None for the model's own default.
        hearing: "direct": sound is in the conversation. "relay": it is heard in a side context,
            and its transcript enters the conversation as text. "auto": direct where it ends before
            the model's `audio_safe_position` (Package.toml), else relay.
        kv_bits: 8 or 4 to quantize the full layers' cache.
        thinking: whether the model thinks before it answers.
        tokenizer: None for the one in the model's folder.
        when_full: what to do when less than an eighth of the context is left: "stop" waits until it
            is full, "drop" takes the oldest questions and their answers out until half of it is
            free; the question that is open, calls that wait for results and the system turn stay.
        store: where `park` keeps rows on disk, and where those of `turns` are looked for.
        context: the most tokens of the conversation, where that is less than the model's.
        drawn: the ids of replies, where several sessions remember them together.
        draft: whether tokens are proposed, of which the model accepts those that it would have
            drawn: "off"; "auto", as far as the time that it takes here shows that it pays;
            "lookup", the same without the model's drafter; or a number: always so many tokens of
            the drafter's. Replies are the same. None is the model's own setting (`load(draft=)`).

    Raises:
        Gemma4Error: the tokenizer cannot be read, a setting is something else, or the turns or
            tools are malformed.
    """

    def __init__(
        self,
        model: Gemma4,
        system: str | None = None,
        turns: Sequence[Turn] = (),
        tools: Sequence[Mapping[str, Any]] | None = (),
        image_tokens: int | None = None,
        hearing: HearingMode = "auto",
        kv_bits: int | None = None,
        thinking: bool = False,
        tokenizer: Tokenizer | None = None,
        when_full: WhenFull = "stop",
        store: PrefixStore | None = None,
        context: int | None = None,
        drawn: DrawnReplies | None = None,
        draft: Draft | None = None,
    ) -> None:
        _check("hearing", hearing, get_args(HearingMode))
        _check("when_full", when_full, get_args(WhenFull))
        _check_count("context", context)
        tokenizer = tokenizer or tokenizer_of(model)
        drawn = drawn or DrawnReplies(tokenizer, model.config)
        conversation = Conversation(
            model, tokenizer, drawn, hearing, kv_bits, thinking, when_full, store, context,
            model.draft if draft is None else draft,
        )  # fmt: skip
        if image_tokens is not None:
            check_budget(image_tokens)
        super().__init__(model, conversation, image_tokens or model.config.image_tokens)
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._system = system
        self._tools = listed("tools", tools or ())
        self.open(turns)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation so far, without what was added since the last reply."""
        return tuple(self._conversation.turns)

    def open(self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Replace the turns, and forget what was added since the last reply.

        What the caches hold of the new turns is not read again. So a turn that is taken back,
        edited or answered again costs nothing, and a reply that comes back equal keeps its ids.

        Args:
            turns: as for `Session`; a system turn is replaced by the session's own, if it has one.
            tools: None for those that it has.
        """
        self._interrupt()
        turns = listed("turns", turns, Turn)
        others = [turn for turn in turns if turn.role != "system" or self._system is None]
        system = [Turn("system", (TextPart(self._system),))] if self._system else []
        tools = self._tools if tools is None else listed("tools", tools)
        self._conversation.open([*system, *others], tools)
        self._tools = tools

    def notices(self) -> list[Notice]:
        """Take what happened unasked since the last call; `reply` yields what was not taken."""
        return self._conversation.take_notices()

    def reply(
        self,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        heard: bool = False,
        grammar: Mapping[str, Any] | None = None,
        must_call: Sequence[str] = (),
        may_call: bool = True,
        stop: Sequence[str] = (),
    ) -> Generator[Event]:
        """Answer what was added since the last reply; the work is done while the events are read.

        Closing the iterator stops the model; what it drew until then stays in the conversation, as
        a turn that is `interrupted`. A cancel before the first token leaves the question open.

        Args:
            max_tokens: the most tokens to answer, thoughts included; None for what fits.
            temperature: see `Sampler`; this and the next two are the checkpoint's own where None.
            top_p: see `Sampler`.
            top_k: see `Sampler`.
            seed: the same seed leads to the same reply; None for a new one each time.
            progress: called with (tokens fed, tokens to feed) while the prompt is read.
            cancelled: asked between chunks and tokens whether to stop.
            heard: ask for a transcript of sound that is part of the conversation, too. It is drawn
                after the answer, which need not wait for it, and in the side context.
            grammar: a JSON schema that the answer keeps to, after its thought; where there are
                tools, they may be called instead.
            must_call: names of tools: the reply calls one of them, and is nothing else.
            may_call: whether tools may be called.
            stop: texts that end the answer where they come; they are no part of it.

        Returns:
            Notices that were not taken; Heard where sound was transcribed; Token, Thought and
            ToolCall events; then one Done. Its reason is "stop" (the model ended), "length"
            (max_tokens), "context" (no room left), "cancelled" or "silence" (nothing was
            understood, and there is nothing else to answer). Its stats are prompt_tokens,
            new_prompt_tokens (what the cache did not hold), reply_tokens, prompt_tokens_per_second
            and, where there were enough tokens to measure it, seconds_to_first_token (since this
            reply was started) and tokens_per_second. Also target_forwards, the model's forward
            passes of the reply, and of the tokens that were proposed for them drafted and accepted.

        Raises:
            Gemma4Error: if nothing was added, a setting is out of range, the conversation is longer
                than the context, or the schema cannot be kept to ("grammar_unusable": `facts` has
                the "param", the place in the schema).
        """
        work = self.replying(
            max_tokens, temperature, top_p, top_k, seed, cancelled, heard, grammar, must_call,
            may_call, stop,
        )  # fmt: skip
        return self._started(_events(work, progress))

    def replying(
        self,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        cancelled: Cancelled | None = None,
        heard: bool = False,
        grammar: Mapping[str, Any] | None = None,
        must_call: Sequence[str] = (),
        may_call: bool = True,
        stop: Sequence[str] = (),
        likeliest: int | None = None,
        presence: float = 0.0,
        frequency: float = 0.0,
    ) -> Work[None]:
        """As `reply`, in steps.

        It also yields (tokens fed, tokens to feed) after each chunk of the prompt, None after any
        other step (a token of a transcript, for example), and calls piece by piece (`CallText`).
        With `likeliest` it yields `Scores` of each token of the answer, with so many beside it;
        that and the penalties are those of `Sampler`.
        """
        self._interrupt()
        config = self._model.config
        _check_count("max_tokens", max_tokens)
        call = self._tokenizer.controls.get("<|tool_call>")
        banned = () if may_call or call is None else (call,)
        sampler = Sampler(
            config.temperature if temperature is None else temperature,
            config.top_k if top_k is None else top_k,
            config.top_p if top_p is None else top_p,
            [*config.suppress_tokens, *banned],
            secrets.randbits(32) if seed is None else seed,
            likeliest,
            presence,
            frequency,
        )
        rules = ReplyRules(
            self._tokenizer, config, self._thinking, self._tools, grammar, must_call, stop
        )
        self._conversation.check()
        return self._started(
            self._conversation.answer(sampler, max_tokens, heard, cancelled, rules)
        )

    def mark(self) -> SessionMark:
        """Remember this place, for `rewind`. It holds on to the cache's buffers while it lives.

        Undo: mark before a question is added, and rewind to it. Edit the last question: the same,
        and add another. Regenerate: mark before `reply`, rewind, and reply with another seed.
        """
        self._interrupt()
        talk = self._conversation
        place = tuple(talk.turns), talk.pending, talk.cache.mark()
        return SessionMark(self, *place, self._tools, talk.asked)

    def rewind(self, mark: SessionMark) -> None:
        """Go to a place that was marked in this session, as if nothing had come after it.

        Raises:
            Gemma4Error: if the mark is another session's.
        """
        self._interrupt()
        if not isinstance(mark, SessionMark) or mark.session is not self:
            another = isinstance(mark, SessionMark)
            raise Gemma4Error(
                "rewind_impossible",
                "The conversation cannot be rewound",
                "The mark was made in another session." if another else f"{mark!r} is no mark.",
                "Use a mark of this session.",
            )
        talk = self._conversation
        talk.turns, talk.pending, talk.asked = list(mark.turns), mark.pending, mark.asked
        self._tools = mark.tools
        if talk.rendering.tools != mark.tools:
            talk.rendering.open(mark.tools)
        talk.cache.rewind(mark.place)
        if not mark.pending.relayed:
            talk.transcriber.reset()
        talk.watch_context()

    def idle(self, cancelled: Cancelled | None = None) -> bool:
        """Do one piece of work that would else be done in the next reply.

        The turns are read as far as they are not, the last answer is read again without its
        thought, and what was added is read ahead of the reply; nothing where that would not fit.

        Args:
            cancelled: asked between chunks whether to stop; what was done is kept.

        Returns:
            Whether there may be more to do.
        """
        return finish(self.reading(), cancelled=cancelled) is not False

    def reading(self) -> Steps[bool]:
        """As `idle`, in steps; returns whether there was something to do."""
        self._interrupt()
        return self._started(self._conversation.read_ahead())

    def park(self, owner: str) -> bool:
        """Park the cache's rows in the store, in the name of an owner: the conversation's id.

        Returns:
            Whether anything was written: not without a store, and not if nothing is new.

        Raises:
            Gemma4Error: the disk is full, or its folder cannot be written.
        """
        self._interrupt()
        return self._conversation.park(owner)

    def save(self, path: str | Path, cache: bool = True) -> None:
        """Save the conversation, with what was added, to a folder.

        Whatever happens while it is written, the folder holds this state or the one saved before.

        Args:
            path: the folder; it is made, or brought up to date.
            cache: save the cache's rows too, so that nothing has to be read again. Work that was
                put off is done first (`idle`).

        Raises:
            Gemma4Error: the folder holds something else, or the disk is full.
        """
        self._interrupt()
        while cache and self.idle():
            pass
        state = persistence.SavedSession(
            self.turns, self._conversation.pending, self._image_tokens, self._thinking, self._tools
        )
        persistence.save(Path(path), state, self._conversation.cache if cache else None)

    @classmethod
    def restore(
        cls,
        model: Gemma4,
        path: str | Path,
        hearing: HearingMode = "auto",
        kv_bits: int | None = None,
        tokenizer: Tokenizer | None = None,
        when_full: WhenFull = "stop",
        draft: Draft | None = None,
        context: int | None = None,
    ) -> "Session":
        """Resume a conversation that was saved; the other settings are saved with it.

        Where the cache's rows were not saved, are damaged, another model's or do not fit the
        settings, the turns are read again: by `idle`, or by the next reply.

        Raises:
            Gemma4Error: there is no conversation, or it is damaged.
        """
        saved = persistence.load(Path(path))
        session = cls(
            model,
            turns=saved.turns,
            tools=saved.tools,
            image_tokens=saved.image_tokens,
            hearing=hearing,
            kv_bits=kv_bits,
            thinking=saved.thinking,
            tokenizer=tokenizer,
            when_full=when_full,
            context=context,
            draft=draft,
        )
        conversation = session._conversation
        conversation.pending = saved.pending
        rows = PrefixStore(Path(path) / persistence.ROWS)
        rows.fill(conversation.cache, conversation.settled().rows)
        return session


def _events(work: Work[None], progress: Progress | None) -> Generator[Event]:
    with closing(work):
        for step in work:
            if isinstance(step, tuple):
                if progress is not None:
                    progress(*step)
            elif step is not None and not isinstance(step, CallText):
                yield step


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise unknown_setting(name, value, ", ".join(allowed))


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise out_of_range(name, value, "1 or more")
