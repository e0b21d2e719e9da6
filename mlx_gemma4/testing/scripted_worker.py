"""An engine without a model: says what it was given to say, as fast as it is told to.

For tests of programs over an engine. Knows nothing of MLX.
"""

import itertools
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..errors import Gemma4Error
from ..events import Done, Event, Token
from ..media.images import PATCH, open_image, resized_size
from ..runtime import commands as do
from ..runtime.client import ENDS_SPEECH, Port
from ..runtime.pace import FRAME_SECONDS
from ..runtime.reports import (
    Crashed,
    EngineEvent,
    Failed,
    Figures,
    Finished,
    Hearing,
    Idle,
    ImageAdded,
    Loaded,
    Marked,
    Reading,
    Report,
)

Answer = str | Gemma4Error | Sequence[Event]
"""Words; an error that the reply fails with; or the events of a reply, but for Done."""

CONTEXT = 8192


class _CrashError(Exception):
    """Leaves a reply without its end."""


class FakeEngine(Port):
    """Answers every command as an engine would, from a script.

    Args:
        answers: what replies say, one after another, and then from the beginning.
        tokens_per_second: how fast; a token is a word.
        hearing_speed: seconds of sound that are heard in a second.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = ("Yes.",),
        tokens_per_second: float = math.inf,
        hearing_speed: float = math.inf,
    ) -> None:
        super().__init__()
        self._answers = itertools.cycle(answers)
        self._token_seconds = 1 / tokens_per_second
        self._heard_in = 1 / hearing_speed
        self._inbox: deque[tuple[int, do.Command]] = deque()
        self._stops = 0
        self._settings = do.Settings()
        self._used = self._marks = 0
        self._speech: int | None = None  # the utterance that is being heard,
        self._frames = 0  # and how much of it was
        self.start()

    def start(self) -> None:
        """Start, or start again after `crash`, as an `EngineProcess` does."""
        self._crashed = False
        self._thread = threading.Thread(target=self._run, name="fake engine", daemon=True)
        self._thread.start()

    def crash(self) -> None:
        """End as if its process had."""
        with self._lock:
            self._crashed = True
            self._lock.notify_all()
        self._thread.join()

    def close(self) -> None:
        """End."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()
        if self._crashed and not self._closed:
            self._end()

    def _accept(self, number: int, command: do.Command) -> None:
        self._stops += isinstance(command, do.Stop)
        self._inbox.append((number, command))

    def _run(self) -> None:
        while True:
            if not self._inbox and self._speech is None:
                self._tell(Report(None, Idle()))
            with self._lock:
                self._lock.wait_for(lambda: self._inbox or self._over())
                if self._over():
                    break
                number, command = self._inbox.popleft()
            if isinstance(command, do.Hear):
                self._hear(number, len(command.frames))
                continue
            if isinstance(command, ENDS_SPEECH) and self._speech is not None:
                self._tell(Report(self._speech, Finished()))
                self._speech, self._frames = None, 0
            try:
                self._do(number, command)
            except _CrashError:
                break
            except Gemma4Error as error:
                self._tell(Report(number, Failed.by(error)))
            else:
                self._tell(Report(number, Finished()))
            self._stops -= isinstance(command, do.Stop)
        if self._closing:
            self._end()
        else:
            self._die()

    def _over(self) -> bool:
        return self._closing or self._crashed

    def _wait(self, seconds: float) -> bool:
        """Let time pass; say whether it may go on."""
        with self._lock:
            return not self._lock.wait_for(lambda: self._over() or self._stops > 0, seconds)

    def _hear(self, number: int, frames: int) -> None:
        self._speech = number
        took = frames * FRAME_SECONDS * self._heard_in
        self._wait(took)
        self._frames += frames
        self._used += frames
        behind = self._waiting.get(number, 0) - self._frames
        event = Hearing(self._frames * FRAME_SECONDS, behind * FRAME_SECONDS, frames, took)
        self._tell(Report(number, event))

    def _do(self, number: int, command: do.Command) -> None:
        def tell(event: Event | EngineEvent) -> None:
            self._tell(Report(number, event))

        match command:
            case do.Load(model, settings):
                self._settings, self._used = settings, 0
                tell(Loaded(str(model), 0.0, CONTEXT, sees=True, hears=True))
            case do.New(settings):
                self._settings, self._used = settings or self._settings, 0
            case do.AddImage(image, image_tokens):
                tell(self._image(image, image_tokens or self._settings.image_tokens or 280))
            case do.AddText(text):
                self._used += len(_words(text))
            case do.Mark():
                self._marks += 1
                tell(Marked(self._marks))
            case do.Reply():
                self._reply(command, tell)
        tell(Figures(self._used, CONTEXT, 10_240 * self._used, 10**9, 2 * 10**9))

    def _image(self, image: object, budget: int) -> ImageAdded:
        """Tell the true sizes of a picture, and count its tokens."""
        picture = open_image(image) if isinstance(image, str | Path) else image
        if isinstance(picture, np.ndarray):
            picture = Pillow.fromarray(picture)
        assert isinstance(picture, Pillow.Image)
        height, width = resized_size(picture.height, picture.width, budget)
        tokens = height * width // PATCH**2
        self._used += tokens
        return ImageAdded(picture.size, (width, height), tokens)

    def _reply(self, command: do.Reply, tell: Callable[[Event | EngineEvent], None]) -> None:
        answer = next(self._answers)
        if isinstance(answer, Gemma4Error):
            raise answer
        events = answer
        if isinstance(answer, str):
            events = [Token(word, n) for n, word in enumerate(_words(answer))]
        tell(Reading(self._used, self._used))
        began, said, reason = time.perf_counter(), 0, "stop"
        for event in events:
            if said == command.max_tokens:
                reason = "length"
                break
            if not self._wait(self._token_seconds):
                if self._crashed:
                    raise _CrashError
                reason = "cancelled"
                break
            assert not isinstance(event, str)
            tell(event)
            said += 1
        self._used += said
        took = max(time.perf_counter() - began, 1e-9)
        stats = {
            "prompt_tokens": self._used - said,
            "new_prompt_tokens": self._used - said,
            "prompt_tokens_per_second": 1000.0,
            "reply_tokens": said,
            "seconds_to_first_token": took / max(said, 1),
            "tokens_per_second": said / took,
        }
        tell(Done(reason, stats))

    def _die(self) -> None:
        with self._lock:
            self._inbox.clear()
            self._speech, self._frames, self._stops = None, 0, 0
        self._crash(
            Crashed(
                "worker_crashed",
                "The model's engine has stopped",
                "A test ended it.",
                "Start it again.",
            )
        )


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)
