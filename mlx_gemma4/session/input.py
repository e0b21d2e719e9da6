"""What is added to a conversation: text, pictures, sound, videos and what tools returned."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow

from ..chat.messages import ImagePart, Part, SoundPart, TextPart, VideoPart
from ..errors import Gemma4Error
from ..generation.prefill_decode import Steps, finish
from ..media import audio
from ..media.images import Picture, patches
from ..media.sources import Source
from ..media.video import FRAME_TOKENS, Film, film_of
from ..model.gemma4 import Gemma4
from .conversation import Conversation
from .pending_turn import PendingTurn, checked, cut, tool_content


class SessionInput:
    """The part of a `Session` that adds to what the next reply answers.

    Args:
        image_tokens: the most tokens a picture may take, where a call has no other limit.
    """

    def __init__(self, model: Gemma4, conversation: Conversation, image_tokens: int) -> None:
        self._model = model
        self._conversation = conversation
        self._image_tokens = image_tokens
        self._running: Generator[Any, None, Any] | None = None

    @property
    def heard_seconds(self) -> float:
        """Seconds of sound that were added since the last reply."""
        return self._conversation.pending.frames * audio.FRAME / audio.RATE

    def add_text(self, text: str) -> None:
        """Add words. Control tokens spelled in them stay plain text."""
        self._add(TextPart(text))

    def add_image(
        self,
        image: Pillow.Image | Source | NDArray[np.generic] | Picture,
        image_tokens: int | None = None,
    ) -> Picture:
        """Add a picture, or one as the model sees it already; return it as the model sees it.

        While a sound is heard, the picture goes before it, as the model expects: the sound is heard
        again after it, unless that would take more than PATIENCE seconds. Then the picture is part
        of the next turn. A notice (`Moved`) reports which.

        Args:
            image_tokens: the most that this picture may take; None for the session's.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        picture = self._picture(image, image_tokens)
        self._add(ImagePart(picture))
        return picture

    def add_audio(
        self,
        samples: ArrayLike | Source,
        rate: float | None = None,
        long: Literal["refuse", "split"] = "refuse",
    ) -> tuple[str, ...]:
        """Add sound: a file, or samples and their rate.

        Args:
            samples: as `audio.to_mono16k` takes them; without a rate what `audio.read_sound` takes.
            rate: samples a second.
            long: what to do with more than 30 seconds, as in `audio.clips`.

        Returns:
            Notes on what of a file could not be read or was changed, one sentence each.

        Raises:
            Gemma4Error: if it is not usable sound or too long, or the model cannot hear.
        """
        self._needs("sound", self._model.config.audio_config)
        if rate is None and not isinstance(samples, np.ndarray | list | tuple):
            recording = audio.read_sound(cast(Source, samples))
        else:  # a rate of None is refused there
            mono = audio.to_mono16k(cast(ArrayLike, samples), cast(float, rate))
            recording = audio.Recording(mono)
        clips = audio.clips(recording.samples, long=long)
        self._interrupt()
        self._conversation.pending = self._conversation.pending.hear(
            self._conversation.limit
        )  # what is held comes before
        for clip in clips:
            self._add(SoundPart(audio.frames(clip)))
        return recording.notes

    def add_frames(self, frames: ArrayLike) -> None:
        """Add sound that was cut into frames (n, 640); more than 30 s is cut at pauses.

        Raises:
            Gemma4Error: the frames are not usable, or the model cannot hear.
        """
        clip = self._checked(frames)
        self._interrupt()
        limit = self._conversation.limit
        self._conversation.pending = self._conversation.pending.hear(limit)
        for piece in cut(clip, limit):
            self._add(SoundPart(piece))

    def transcribing(self, frames: ArrayLike) -> Steps[str]:
        """Transcribe frames (n, 640) in the side context, in steps; the conversation is untouched.

        Raises:
            Gemma4Error: as `hear`.
        """
        clip = SoundPart(self._checked(frames))
        self._interrupt()
        return self._started(self._conversation.transcriber.transcribe_all([clip]))

    def add_video(self, video: Source | Film) -> tuple[str, ...]:
        """Add a video file, or at most 32 (seconds, picture) in order, placed as by `add_image`.

        Returns:
            Notes on what could not be read, one sentence each.

        Raises:
            Gemma4Error: if it cannot be read, or the model cannot see.
        """
        self._needs("pictures", self._model.config.vision_config)
        notes: list[str] = []
        film = film_of(video, notes.append)
        self._add(
            VideoPart(tuple((seconds, patches(frame, FRAME_TOKENS)) for seconds, frame in film))
        )
        return tuple(notes)

    def add_tool_result(
        self, call_id: str, content: str | Mapping[str, Any] | Sequence[Any]
    ) -> tuple[Picture, ...]:
        """Add what a tool returned; the model continues with it in the next reply.

        Args:
            call_id: `ToolCall.id` of a call in the last reply.
            content: text, a dict that JSON can hold, or a list of texts, {"type": "text",
                "text": ...} and pictures (what `add_image` takes but a str, or {"type": "image",
                "image": ...}). Pictures follow all results, as a turn of the user's.

        Returns:
            The pictures.

        Raises:
            Gemma4Error: there is no such call, or the content is something else.
        """
        self._interrupt()
        calls = self._conversation.calls
        call = next((one for one in calls if one.id == call_id), None)
        if call is None:
            raise Gemma4Error(
                "tool_call_unknown",
                "The tool result answers no call",
                f"The last reply has no call {call_id!r}; it has {[one.id for one in calls]}.",
                "Use the id of a ToolCall of the last reply.",
            )
        before = self._conversation.pending
        response, pictures = tool_content(content)
        made = tuple(self._picture(picture) for picture in pictures)
        self._conversation.pending = before.answered(call, response, calls)
        for picture in made:
            self._add(ImagePart(picture))
        return made

    def hear(self, frames: ArrayLike) -> None:
        """Listen live: feed frames to the model now, and those that were held before them.

        Frames of one turn make one clip, however many calls bring them, until it is as long as the
        model can hear: then it is cut at a pause and continues as a further clip. In the side
        context the finished one is transcribed at once, which takes as long as a short reply.

        Args:
            frames: (n, 640) samples of 16 kHz mono sound in [-1, 1].

        Raises:
            Gemma4Error: if the frames are not usable, the context is full or the model cannot hear.
                These frames are not taken then, and all that was there before stays.
        """
        finish(self.listening(frames))

    def listening(self, frames: ArrayLike) -> Steps[None]:
        """As `hear`, in steps: the frames are taken now, and fed while this is driven.

        What is not fed when it is closed is fed by the next call that feeds.
        """
        clip = self._checked(frames)
        self._interrupt()
        before = self._conversation.pending
        self._conversation.pending = before.hold(clip).hear(self._conversation.limit)
        return self._started(self._listen(before))

    def hold(self, frames: ArrayLike) -> None:
        """Take frames without feeding them: the next `hear` or `reply` feeds them in one go.

        For a machine that cannot keep up with the speaker. Arguments and errors as in `hear`.
        """
        clip = self._checked(frames)
        self._interrupt()
        self._conversation.pending = self._conversation.pending.hold(clip)

    def discard(self) -> None:
        """Forget what was added since the last reply: noise, or a recording that was cancelled."""
        self._interrupt()
        self._conversation.pending = PendingTurn()
        self._conversation.transcriber.reset()
        self._conversation.go_back()
        self._conversation.watch_context()

    def _listen(self, before: PendingTurn) -> Steps[None]:
        try:
            yield from self._conversation.listen()
        except Gemma4Error:
            self._conversation.pending = before
            raise

    def _picture(
        self,
        image: Pillow.Image | Source | NDArray[np.generic] | Picture,
        image_tokens: int | None = None,
    ) -> Picture:
        self._needs("pictures", self._model.config.vision_config)
        if isinstance(image, Picture):
            return image
        return patches(image, self._image_tokens if image_tokens is None else image_tokens)

    def _add(self, part: Part) -> None:
        self._interrupt()
        self._conversation.add(part)

    def _started(self, work: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        self._running = work
        return work

    def _interrupt(self) -> None:
        if self._running is None:
            return
        if getattr(self._running, "gi_running", False):
            raise Gemma4Error(
                "session_busy",
                "The session is busy",
                "It was called from inside a callback of its own (progress or cancelled).",
                "Let the callback return first, and end the reply by closing it.",
            )
        self._running.close()
        self._running = None

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
