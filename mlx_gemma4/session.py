"""A conversation: turns are added, replies come as events, and nothing is read twice.

Each reply renders the whole conversation anew; the timeline feeds what its cache does not hold.
"""

import dataclasses
import secrets
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow

from . import sound, timeline
from .errors import Gemma4Error
from .events import Done, Event, Thought, Token, ToolCall
from .generate import Cancelled, Progress
from .images import Picture, patches
from .model import Gemma4
from .parse import ReplyParser
from .prompt import Prompt, render
from .sample import Sampler
from .tokenizer import Tokenizer
from .turns import Image, Part, Sound, Text, Turn, Video
from .video import FRAME_TOKENS, open_video


@dataclass(frozen=True, eq=False)
class Mark:
    """A place in a conversation, for `Session.rewind`."""

    session: "Session"
    turns: tuple[Turn, ...]
    added: tuple[Part, ...]
    heard: NDArray[np.float32] | None
    place: timeline.Mark


class Session:
    """A conversation with a model.

    Text, pictures and sound are added in any order; `reply` answers what was added since the last
    reply. While a reply is being read, any other call ends it, and what was said stays said.

    Args:
        model: from `load`.
        system: an instruction that stands before the conversation.
        image_tokens: the most tokens a picture may take; None for the model's own default.
        kv_bits: 8 or 4 to quantize the full layers' cache.
        thinking: whether the model thinks before it answers.
        tokenizer: None for the one in the model's folder.

    Raises:
        Gemma4Error: if the tokenizer cannot be read, or kv_bits is something else.
    """

    def __init__(
        self,
        model: Gemma4,
        system: str | None = None,
        image_tokens: int | None = None,
        kv_bits: int | None = None,
        thinking: bool = False,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer or _tokenizer_of(model)
        self._image_tokens = image_tokens or model.config.image_tokens
        self._thinking = thinking
        self._turns: list[Turn] = [Turn("system", (Text(system),))] if system else []
        self._added: list[Part] = []  # what the next reply answers,
        self._heard: NDArray[np.float32] | None = None  # and the clip that `hear` lengthens
        self._timeline = timeline.Timeline(model, kv_bits)
        self._reply: Generator[Event] | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation so far, without what was added since the last reply."""
        return tuple(self._turns)

    def add_text(self, text: str) -> None:
        """Add words. Control tokens spelled in them stay plain text."""
        self._add(Text(text))

    def add_image(self, image: Pillow.Image | str | Path | NDArray[np.generic]) -> Picture:
        """Add a picture; give it as the model sees it.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        self._needs("pictures", self._model.config.vision_config)
        picture = patches(image, self._image_tokens)
        self._add(Image(picture))
        return picture

    def add_audio(
        self, samples: ArrayLike, rate: float, long: Literal["refuse", "split"] = "refuse"
    ) -> None:
        """Add sound.

        Args:
            samples: as `sound.to_mono16k` takes them.
            rate: samples a second.
            long: what to do with more than 30 seconds, as in `sound.clips`.

        Raises:
            Gemma4Error: if it is not usable sound or too long, or the model cannot hear.
        """
        self._needs("sound", self._model.config.audio_config)
        for clip in sound.clips(sound.to_mono16k(samples, rate), long=long):
            self._add(Sound(sound.frames(clip)))

    def add_video(self, path: str | Path) -> None:
        """Add a video's pictures with their times; its sound is not used.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        self._needs("pictures", self._model.config.vision_config)
        film = [(seconds, patches(frame, FRAME_TOKENS)) for seconds, frame in open_video(path)]
        self._add(Video(tuple(film)))

    def hear(self, frames: ArrayLike) -> None:
        """Listen live: feed frames to the model now, after what was added before.

        Frames of one turn make one clip, however many calls bring them.

        Args:
            frames: (n, 640) samples of 16 kHz mono sound in [-1, 1].

        Raises:
            Gemma4Error: if the shape is wrong, the clip would pass 30 seconds, the context is full
                or the model cannot hear.
        """
        self._needs("sound", self._model.config.audio_config)
        clip = np.asarray(frames, np.float32)
        if clip.ndim != 2 or clip.shape[1] != sound.FRAME or not len(clip):
            raise Gemma4Error(
                "The frames have a wrong shape",
                f"Their shape is {clip.shape}.",
                f"Give (n, {sound.FRAME}) with n of 1 or more; `sound.frames` makes them.",
            )
        self._interrupt()
        before = self._heard
        if before is not None:
            clip = np.concatenate([before, clip])
        limit = int(sound.LIMIT_SECONDS * sound.RATE / sound.FRAME)
        if len(clip) > limit:
            raise Gemma4Error(
                "The sound is too long",
                f"The model hears at most {sound.LIMIT_SECONDS:g} s in one clip ({limit} frames).",
                "Ask for the reply now, and go on in the next turn.",
            )
        self._heard = clip
        try:
            prompt = self._render(open_reply=False)
            after = prompt.token_ids[::-1].index(self._model.config.audio_token_id)
            ids = prompt.token_ids[: len(prompt.token_ids) - after]
            self._timeline.feed(dataclasses.replace(prompt, token_ids=ids), self._all_turns())
        except Gemma4Error:
            self._heard = before
            raise

    def reply(
        self,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Generator[Event]:
        """Answer what was added since the last reply; the work is done while the events are read.

        Closing the iterator stops the model; what it said until then stays in the conversation. A
        cancel before the first token leaves the question open.

        Args:
            max_tokens: the most tokens to answer, thoughts included; None for what fits.
            temperature: see `Sampler`; this and the next two are the checkpoint's own where None.
            top_p: see `Sampler`.
            top_k: see `Sampler`.
            seed: the same seed gives the same reply; None for a new one each time.
            progress: called with (tokens fed, tokens to feed) while the prompt is read.
            cancelled: asked between chunks and tokens whether to stop.

        Returns:
            Token, Thought and ToolCall events, then one Done. Its reason is "stop" (the model
            ended), "length" (max_tokens), "context" (no room left) or "cancelled". Its stats are
            prompt_tokens, new_prompt_tokens (what the cache did not hold), reply_tokens,
            prompt_tokens_per_second and, where there were enough tokens to measure it,
            seconds_to_first_token and tokens_per_second.

        Raises:
            Gemma4Error: if nothing was added, a setting is out of range, or the conversation is
                longer than the context.
        """
        self._interrupt()
        config = self._model.config
        if not self._added and self._heard is None:
            raise Gemma4Error(
                "There is nothing to answer",
                "Nothing was added since the last reply.",
                "Add text, a picture or sound first.",
            )
        if max_tokens is not None and max_tokens < 1:
            raise Gemma4Error(
                "The setting max_tokens is out of range", f"It is {max_tokens}.", "Give 1 or more."
            )
        sampler = Sampler(
            config.temperature if temperature is None else temperature,
            config.top_k if top_k is None else top_k,
            config.top_p if top_p is None else top_p,
            config.suppress_tokens,
            secrets.randbits(32) if seed is None else seed,
        )
        prompt = self._render(open_reply=True)
        context = config.text_config.max_position_embeddings
        room = context - len(prompt.token_ids)
        if room < 1:
            raise Gemma4Error(
                "The conversation is too long",
                f"It has {len(prompt.token_ids):,} tokens, and the context of this model holds "
                f"{context:,}, the reply included.",
                "Shorten it, give fewer pictures or fewer tokens a picture, or start a new one.",
            )
        limit = room if max_tokens is None else min(max_tokens, room)
        full = "length" if limit == max_tokens else "context"
        self._reply = self._answer(prompt, sampler, limit, full, progress, cancelled)
        return self._reply

    def mark(self) -> Mark:
        """Remember this place, for `rewind`. It holds on to the cache's buffers while it lives."""
        self._interrupt()
        place = self._timeline.mark()
        return Mark(self, tuple(self._turns), tuple(self._added), self._heard, place)

    def rewind(self, mark: Mark) -> None:
        """Go to a place that was marked in this session, as if nothing had come after it.

        Raises:
            Gemma4Error: if the mark is another session's.
        """
        self._interrupt()
        if mark.session is not self:
            raise Gemma4Error(
                "The conversation cannot be rewound",
                "The mark was made in another session.",
                "Use a mark of this session.",
            )
        self._turns, self._added, self._heard = list(mark.turns), list(mark.added), mark.heard
        self._timeline.rewind(mark.place)

    def _answer(
        self,
        prompt: Prompt,
        sampler: Sampler,
        limit: int,
        full: str,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> Generator[Event]:
        """Feed the prompt, then decode at most `limit` tokens; `full` says what the limit is."""
        began = time.perf_counter()
        logits, new_tokens = self._timeline.feed(prompt, self._all_turns(), progress, cancelled)
        if logits is None:
            yield Done("cancelled")
            return
        fed = time.perf_counter()
        if self._thinking:
            self._timeline.keep()  # the thought will be left out of the history
        parser = ReplyParser(self._tokenizer)
        ids: list[int] = []
        times: list[float] = []
        said: list[Event] = []
        try:
            with closing(self._timeline.say(logits, sampler, limit, cancelled)) as drawn:
                for token_id in drawn:
                    times.append(time.perf_counter())
                    ids.append(token_id)
                    for event in parser.add(token_id):
                        said.append(event)
                        yield event
            for event in parser.finish():
                said.append(event)
                yield event
        finally:  # also where the iterator is closed in the middle of a reply
            if ids:
                self._turns = [*self._all_turns(), Turn("model", _parts(said))]
                self._added, self._heard = [], None
        stats = {
            "prompt_tokens": len(prompt.token_ids),
            "new_prompt_tokens": new_tokens,
            "prompt_tokens_per_second": new_tokens / (fed - began),
            "reply_tokens": len(ids),
        }
        if ids:
            stats["seconds_to_first_token"] = times[0] - began
        if len(ids) > 1:
            stats["tokens_per_second"] = (len(ids) - 1) / (times[-1] - times[0])
        ended = bool(ids) and ids[-1] in self._model.config.eos_token_ids
        yield Done("stop" if ended else full if len(ids) == limit else "cancelled", stats)

    def _add(self, part: Part) -> None:
        self._interrupt()
        self._added.append(part)

    def _interrupt(self) -> None:
        """End the reply that is being read."""
        if self._reply is not None:
            self._reply.close()

    def _all_turns(self) -> list[Turn]:
        heard = [] if self._heard is None else [Sound(self._heard)]
        return [*self._turns, Turn("user", (*self._added, *heard))]

    def _render(self, open_reply: bool) -> Prompt:
        return render(
            self._all_turns(),
            self._tokenizer,
            self._model.config,
            thinking=self._thinking,
            open_reply=open_reply,
        )

    def _needs(self, medium: str, weights: object) -> None:
        if weights is None:
            raise Gemma4Error(
                f"This model takes no {medium}",
                f"Its folder has no weights for {medium}.",
                "Use a folder that was converted with them (mlx-lm's converter leaves them out).",
            )


def _tokenizer_of(model: Gemma4) -> Tokenizer:
    folder = getattr(model, "folder", None)
    if folder is None:
        raise Gemma4Error(
            "There is no tokenizer",
            "The model was not read from a folder.",
            "Give the session a tokenizer.",
        )
    return Tokenizer.from_folder(folder)


def _parts(said: list[Event]) -> tuple[Part, ...]:
    """Make a model's turn of the events of its reply."""
    thought = "".join(event.text for event in said if isinstance(event, Thought))
    text = "".join(event.text for event in said if isinstance(event, Token))
    calls = [event for event in said if isinstance(event, ToolCall)]
    return (*([Thought(thought)] if thought else []), *([Text(text)] if text else []), *calls)
