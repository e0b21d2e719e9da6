"""A conversation: turns are added, replies come as events, and nothing is read twice."""

import secrets
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, Turn, VideoPart
from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..events import Event, Notice
from ..generation.prefill_decode import Cancelled, Progress
from ..generation.sampler import Sampler
from ..media import audio
from ..media.images import Picture, patches
from ..media.video import FRAME_TOKENS, Film, open_video, timed
from ..model.gemma4 import Gemma4
from . import persistence, prefix_cache
from .conversation import Conversation, WhenFull
from .pending_turn import Draft, checked
from .transcriber import Hearing


@dataclass(frozen=True, eq=False)
class Mark:
    """A place in a conversation, for `Session.rewind`."""

    session: "Session"
    turns: tuple[Turn, ...]
    draft: Draft
    place: prefix_cache.Mark


class Session:
    """A conversation with a model.

    Text, pictures and sound are added in any order; `reply` answers what was added since the last
    reply. While a reply is being read, any other call ends it, and what was said stays said.

    Args:
        model: from `load`.
        system: an instruction that stands before the conversation.
        image_tokens: the most tokens a picture may take; None for the model's own default.
        hearing: "direct": sound lies in the conversation. "relay": it is heard in a side context,
            and its transcript enters the conversation as text. "auto": direct where it ends before
            the model's `audio_safe_position` (Package.toml), else relay.
        kv_bits: 8 or 4 to quantize the full layers' cache.
        thinking: whether the model thinks before it answers.
        tokenizer: None for the one in the model's folder.
        when_full: what to do when less than an eighth of the context is left: "stop" goes on until
            it is full, "drop" takes the oldest turns out until half of it is free.

    Raises:
        Gemma4Error: if the tokenizer cannot be read, or a setting is something else.
    """

    def __init__(
        self,
        model: Gemma4,
        system: str | None = None,
        image_tokens: int | None = None,
        hearing: Hearing = "auto",
        kv_bits: int | None = None,
        thinking: bool = False,
        tokenizer: Tokenizer | None = None,
        when_full: WhenFull = "stop",
    ) -> None:
        _check("hearing", hearing, get_args(Hearing))
        _check("when_full", when_full, get_args(WhenFull))
        self._model = model
        self._image_tokens = image_tokens or model.config.image_tokens
        self._thinking = thinking
        self._talk = Conversation(
            model,
            tokenizer or _tokenizer_of(model),
            [Turn("system", (TextPart(system),))] if system else [],
            hearing,
            kv_bits,
            thinking,
            when_full,
        )
        self._reply: Generator[Event] | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation so far, without what was added since the last reply."""
        return tuple(self._talk.turns)

    @property
    def heard_seconds(self) -> float:
        """Seconds of sound that were added since the last reply."""
        return self._talk.draft.seconds

    @property
    def context(self) -> tuple[int, int]:
        """How many rows of the context are used, and how many it has."""
        return len(self._talk.timeline), self._talk.rows

    @property
    def nbytes(self) -> int:
        """Bytes of the caches, with their free room."""
        return self._talk.timeline.nbytes + self._talk.relay.nbytes

    def notices(self) -> list[Notice]:
        """Take what happened unasked since the last call; `reply` gives what was not taken."""
        return self._talk.told()

    def add_text(self, text: str) -> None:
        """Add words. Control tokens spelled in them stay plain text."""
        self._add(TextPart(text))

    def add_image(
        self,
        image: Pillow.Image | str | Path | NDArray[np.generic],
        image_tokens: int | None = None,
    ) -> Picture:
        """Add a picture; give it as the model sees it.

        While a sound is heard, the picture goes before it, as the model expects: the sound is heard
        again after it, unless that would take more than PATIENCE seconds. Then the picture is part
        of the next turn. A notice (`Moved`) says which.

        Args:
            image_tokens: the most that this picture may take; None for the session's.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        self._needs("pictures", self._model.config.vision_config)
        picture = patches(image, image_tokens or self._image_tokens)
        self._add(ImagePart(picture))
        return picture

    def add_audio(
        self, samples: ArrayLike, rate: float, long: Literal["refuse", "split"] = "refuse"
    ) -> None:
        """Add sound.

        Args:
            samples: as `audio.to_mono16k` takes them.
            rate: samples a second.
            long: what to do with more than 30 seconds, as in `audio.clips`.

        Raises:
            Gemma4Error: if it is not usable sound or too long, or the model cannot hear.
        """
        self._needs("sound", self._model.config.audio_config)
        clips = audio.clips(audio.to_mono16k(samples, rate), long=long)
        self._interrupt()
        self._talk.draft = self._talk.draft.hear(self._talk.limit)  # what is held comes before
        for clip in clips:
            self._add(SoundPart(audio.frames(clip)))

    def add_video(self, video: str | Path | Film) -> None:
        """Add, as `add_image`, a video file's pictures or at most 32 (seconds, picture) in order.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        self._needs("pictures", self._model.config.vision_config)
        film = open_video(video) if isinstance(video, str | Path) else timed(video)
        self._add(
            VideoPart(tuple((seconds, patches(frame, FRAME_TOKENS)) for seconds, frame in film))
        )

    def hear(self, frames: ArrayLike) -> None:
        """Listen live: feed frames to the model now, and those that were held before them.

        Frames of one turn make one clip, however many calls bring them, until it is as long as the
        model can hear: then it is cut at a pause and goes on as a further clip. In the relay the
        finished one is written down at once, which takes as long as a short reply.

        Args:
            frames: (n, 640) samples of 16 kHz mono sound in [-1, 1].

        Raises:
            Gemma4Error: if the frames are not usable, the context is full or the model cannot hear.
                These frames are not taken then, and all that was there before stays.
        """
        clip = self._checked(frames)
        self._interrupt()
        before = self._talk.draft
        self._talk.draft = before.hold(clip).hear(self._talk.limit)
        try:
            self._talk.listen()
        except Gemma4Error:
            self._talk.draft = before
            raise

    def hold(self, frames: ArrayLike) -> None:
        """Take frames without feeding them: the next `hear` or `reply` feeds them in one go.

        For a machine that cannot keep up with the speaker. Arguments and errors as in `hear`.
        """
        clip = self._checked(frames)
        self._interrupt()
        self._talk.draft = self._talk.draft.hold(clip)

    def discard(self) -> None:
        """Forget what was added since the last reply: noise, or a recording that was cancelled."""
        self._interrupt()
        self._talk.draft = Draft()
        self._talk.relay.rest()
        self._talk.go_back()
        self._talk.watch_context()

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
    ) -> Generator[Event]:
        """Answer what was added since the last reply; the work is done while the events are read.

        Closing the iterator stops the model; what it said until then stays in the conversation, as
        a turn that is `interrupted`. A cancel before the first token leaves the question open.

        Args:
            max_tokens: the most tokens to answer, thoughts included; None for what fits.
            temperature: see `Sampler`; this and the next two are the checkpoint's own where None.
            top_p: see `Sampler`.
            top_k: see `Sampler`.
            seed: the same seed gives the same reply; None for a new one each time.
            progress: called with (tokens fed, tokens to feed) while the prompt is read.
            cancelled: asked between chunks and tokens whether to stop.
            heard: ask for a transcript of sound that lies in the conversation, too. It is drawn
                after the answer, which need not wait for it, and in the side context.

        Returns:
            Notices that were not taken; Heard where sound was written down; Token, Thought and
            ToolCall events; then one Done. Its reason is "stop" (the model ended), "length"
            (max_tokens), "context" (no room left), "cancelled" or "silence" (the relay understood
            nothing, and there is nothing else to answer). Its stats are prompt_tokens,
            new_prompt_tokens (what the cache did not hold), reply_tokens, prompt_tokens_per_second
            and, where there were enough tokens to measure it, seconds_to_first_token (since this
            reply was begun) and tokens_per_second.

        Raises:
            Gemma4Error: if nothing was added, a setting is out of range, or the conversation is
                longer than the context.
        """
        self._interrupt()
        config = self._model.config
        if max_tokens is not None and max_tokens < 1:
            raise Gemma4Error(
                "setting_out_of_range",
                "The setting max_tokens is out of range",
                f"It is {max_tokens}.",
                "Give 1 or more.",
            )
        sampler = Sampler(
            config.temperature if temperature is None else temperature,
            config.top_k if top_k is None else top_k,
            config.top_p if top_p is None else top_p,
            config.suppress_tokens,
            secrets.randbits(32) if seed is None else seed,
        )
        self._talk.check()
        self._reply = self._talk.answer(sampler, max_tokens, heard, progress, cancelled)
        return self._reply

    def mark(self) -> Mark:
        """Remember this place, for `rewind`. It holds on to the cache's buffers while it lives.

        Undo: mark before a question is added, and rewind to it. Edit the last question: the same,
        and add it anew. Regenerate: mark before `reply`, rewind, and reply with another seed.
        """
        self._interrupt()
        talk = self._talk
        return Mark(self, tuple(talk.turns), talk.draft, talk.timeline.mark())

    def rewind(self, mark: Mark) -> None:
        """Go to a place that was marked in this session, as if nothing had come after it.

        Raises:
            Gemma4Error: if the mark is another session's.
        """
        self._interrupt()
        if mark.session is not self:
            raise Gemma4Error(
                "rewind_impossible",
                "The conversation cannot be rewound",
                "The mark was made in another session.",
                "Use a mark of this session.",
            )
        self._talk.turns, self._talk.draft = list(mark.turns), mark.draft
        self._talk.timeline.rewind(mark.place)
        if not mark.draft.relayed:
            self._talk.relay.rest()
        self._talk.watch_context()

    def idle(self, cancelled: Cancelled | None = None) -> bool:
        """Do one piece of work that would else be done in the next reply.

        The last answer is read again without its thought, a conversation whose oldest turns were
        dropped is read anew, and what was added is read ahead of the reply.

        Args:
            cancelled: asked between chunks whether to stop; what was done is kept.

        Returns:
            Whether there was something to do; then there may be more.

        Raises:
            Gemma4Error: if the context is full.
        """
        self._interrupt()
        return self._talk.work_ahead(cancelled)

    def save(self, path: str | Path, cache: bool = True) -> None:
        """Save the conversation, with what was added, to a folder.

        Whatever happens while it is written, the folder holds this state or the one saved before.

        Args:
            path: the folder; it is made, or brought up to date.
            cache: save the cache's rows too, so that nothing has to be read again. Work that was
                put off is done first (`idle`).

        Raises:
            Gemma4Error: if the folder holds something else, or the disk is full.
        """
        self._interrupt()
        while cache and self.idle():
            pass
        talk, rows = self._talk, self._talk.timeline if cache else None
        state = persistence.State(tuple(talk.turns), talk.draft, self._image_tokens, self._thinking)
        persistence.save(Path(path), self._model, state, rows, talk.settled()[0])

    @classmethod
    def restore(
        cls,
        model: Gemma4,
        path: str | Path,
        hearing: Hearing = "auto",
        kv_bits: int | None = None,
        tokenizer: Tokenizer | None = None,
        when_full: WhenFull = "stop",
    ) -> "Session":
        """Go on with a conversation that was saved; the other settings are saved with it.

        Where the cache's rows were not saved, are damaged or do not fit the settings, the turns
        are read again: by `idle`, or by the next reply.

        Raises:
            Gemma4Error: if there is no conversation, it is damaged, or it is another model's.
        """
        state, rows = persistence.load(Path(path), model)
        session = cls(
            model, None, state.image_tokens, hearing, kv_bits, state.thinking, tokenizer, when_full
        )
        talk = session._talk
        talk.turns, talk.draft = list(state.turns), state.draft
        if rows is not None:
            persistence.load_rows(Path(path), rows, model, talk.timeline, *talk.settled())
        return session

    def _add(self, part: Part) -> None:
        self._interrupt()
        self._talk.add(part)

    def _interrupt(self) -> None:
        """End the reply that is being read."""
        if self._reply is not None:
            self._reply.close()

    def _checked(self, frames: ArrayLike) -> NDArray[np.float32]:
        self._needs("sound", self._model.config.audio_config)
        return checked(frames)

    def _needs(self, medium: str, weights: object) -> None:
        if weights is None:
            raise Gemma4Error(
                "medium_unsupported",
                f"This model takes no {medium}",
                f"Its folder has no weights for {medium}.",
                "Use a folder that was converted with them (mlx-lm's converter leaves them out).",
            )


def _tokenizer_of(model: Gemma4) -> Tokenizer:
    folder = getattr(model, "folder", None)
    if folder is None:
        raise Gemma4Error(
            "tokenizer_missing",
            "There is no tokenizer",
            "The model was not read from a folder.",
            "Give the session a tokenizer.",
        )
    return Tokenizer.from_folder(folder)


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise Gemma4Error(
            "setting_unknown",
            f"The setting {name} is not known",
            f"It is {value!r}.",
            f"Use {', '.join(allowed)}.",
        )
