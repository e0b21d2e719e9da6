"""A worker without a model: answers from a script, as fast as it is asked to.

For tests of programs over a worker. Knows nothing of MLX.
"""

import itertools
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..errors import Gemma4Error
from ..events import Done, Event, Thought, Token
from ..media.images import PATCH, open_image, resized_size
from ..runtime import commands
from ..runtime.client import ENDS_SPEECH, Client
from ..runtime.pace import FRAME_SECONDS
from ..runtime.reports import (
    Crashed,
    Failed,
    Figures,
    Finished,
    Hearing,
    Idle,
    ImageAdded,
    Loaded,
    Reading,
    Report,
    Rereading,
    WorkerEvent,
)
from ..runtime.threads import start_thread

Answer = str | Gemma4Error | Sequence[Event]
"""Words; an error that the reply fails with; or the events of a reply, but for Done."""

CONTEXT = 8192


class _CrashError(Exception):
    pass


class ScriptedWorker(Client):
    """Answers every command as a worker would, from a script.

    Args:
        answers: the replies, one after another, and then again from the first.
        tokens_per_second: how fast; a token is a word.
        hearing_speed: seconds of sound that are heard in a second.

    Attributes:
        accepted: every command that was sent, in order; sound is left out.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = ("Yes.",),
        tokens_per_second: float = math.inf,
        hearing_speed: float = math.inf,
    ) -> None:
        super().__init__()
        self.accepted: list[commands.Command] = []
        self._answers = itertools.cycle(answers)
        self._token_seconds = 1 / tokens_per_second
        self._heard_in = 1 / hearing_speed
        self._inbox: deque[tuple[int, commands.Command]] = deque()
        self._stops = 0
        self._settings: dict[str, commands.SessionSettings] = {}
        self._used: Counter[str] = Counter()
        self._speech: tuple[str, int] | None = None  # the utterance that is being heard,
        self._frames = 0  # and how much of it was
        self._crashed = True  # it does not run yet
        self.start()

    def start(self) -> None:
        """Start, or start again after `crash`, as a `SubprocessWorker` does."""
        if not self._crashed:
            return
        self._crashed = False
        self._settings.clear()
        self._thread = start_thread(self._run, "scripted worker")

    def crash(self) -> None:
        """End as if its process had."""
        with self._lock:
            self._crashed = True
            self._lock.notify_all()
        self._thread.join()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()
        if self._crashed and not self._closed:
            self._end()

    def _accept(self, number: int, command: commands.Command) -> None:
        self._stops += isinstance(command, commands.Stop)
        if not isinstance(command, commands.Hear):
            self.accepted.append(command)
        self._inbox.append((number, command))

    def _run(self) -> None:
        while True:
            if not self._inbox and self._speech is None:
                self._report(Report(None, Idle()))
            with self._lock:
                self._lock.wait_for(lambda: self._inbox or self._over())
                if self._over():
                    break
                number, command = self._inbox.popleft()
            if isinstance(command, commands.Hear):
                self._hear(number, command.conversation, len(command.frames))
                continue
            if isinstance(command, ENDS_SPEECH) and self._speech is not None:
                conversation, speech = self._speech
                self._report(Report(speech, Finished(), conversation))
                self._speech, self._frames = None, 0
            name = getattr(command, "conversation", None)
            try:
                self._do(number, command, name)
            except _CrashError:
                break
            except Gemma4Error as error:
                self._report(Report(number, Failed.of(error), name))
            else:
                self._report(Report(number, Finished(), name))
            self._stops -= isinstance(command, commands.Stop)
        if self._closing:
            self._end()
        else:
            self._die()

    def _over(self) -> bool:
        return self._closing or self._crashed

    def _wait(self, seconds: float) -> bool:
        with self._lock:
            return not self._lock.wait_for(lambda: self._over() or self._stops > 0, seconds)

    def _hear(self, number: int, conversation: str, frames: int) -> None:
        self._speech = conversation, number
        took = frames * FRAME_SECONDS * self._heard_in
        self._wait(took)
        self._frames += frames
        self._used[conversation] += frames
        behind = self._waiting.get(number, 0) - self._frames
        event = Hearing(self._frames * FRAME_SECONDS, behind * FRAME_SECONDS, frames, took)
        self._report(Report(number, event, conversation))

    def _do(self, number: int, command: commands.Command, name: str | None) -> None:
        def report(event: Event | WorkerEvent) -> None:
            self._report(Report(number, event, name))

        if isinstance(command, commands.Load):
            self._settings.clear()
            report(Loaded(str(command.model), 0.0, CONTEXT, sees=True, hears=True))
            return
        conversation = command.conversation
        match command:
            case commands.Open(turns, settings):
                self._open(conversation, turns, settings, report)
            case commands.Close():
                self._settings.pop(conversation, None)
                return
            case commands.AddImage(image, image_tokens):
                settings = self._settings.get(conversation, commands.SessionSettings())
                added = _image(image, image_tokens or settings.image_tokens or 280)
                self._used[conversation] += added.tokens
                report(added)
            case commands.AddText(text):
                self._used[conversation] += len(_words(text))
            case commands.Reply():
                self._reply(command, report)
        used = self._used[conversation]
        report(Figures(used, CONTEXT, 10_240 * used, 10**9, 2 * 10**9))

    def _open(
        self,
        conversation: str,
        turns: Sequence[commands.PastTurn],
        settings: commands.SessionSettings,
        report: Callable[[Event | WorkerEvent], None],
    ) -> None:
        held = conversation in self._settings
        self._settings[conversation] = settings
        parts = [part for turn in turns for part in turn.parts]
        texts = [part.text for part in parts if isinstance(part, commands.AddText | Thought)]
        self._used[conversation] = sum(len(_words(text)) for text in texts)
        if turns and not held:
            tokens = max(self._used[conversation], 1)
            report(Rereading(tokens))
            report(Reading(tokens, tokens))

    def _reply(
        self, command: commands.Reply, report: Callable[[Event | WorkerEvent], None]
    ) -> None:
        answer = next(self._answers)
        if isinstance(answer, Gemma4Error):
            raise answer
        events = answer
        if isinstance(answer, str):
            events = [Token(word, n) for n, word in enumerate(_words(answer))]
        used = self._used[command.conversation]
        report(Reading(used, used))
        started, count, reason = time.perf_counter(), 0, "stop"
        for event in events:
            if count == command.max_tokens:
                reason = "length"
                break
            if not self._wait(self._token_seconds):
                if self._crashed:
                    raise _CrashError
                reason = "cancelled"
                break
            assert not isinstance(event, str)
            report(event)
            count += 1
        self._used[command.conversation] += count
        took = max(time.perf_counter() - started, 1e-9)
        stats = {
            "prompt_tokens": used,
            "new_prompt_tokens": used,
            "prompt_tokens_per_second": 1000.0,
            "reply_tokens": count,
            "seconds_to_first_token": took / max(count, 1),
            "tokens_per_second": count / took,
        }
        report(Done(reason, stats))

    def _die(self) -> None:
        with self._lock:
            self._inbox.clear()
            self._speech, self._frames, self._stops, self._crashed = None, 0, 0, True
        self._crash(
            Crashed(
                "worker_crashed",
                "The model's worker has stopped",
                "A test ended it.",
                "Start it again.",
            )
        )


def _image(image: object, budget: int) -> ImageAdded:
    """The true sizes of a picture, and its tokens."""
    picture = open_image(image) if isinstance(image, str | Path) else image
    if isinstance(picture, np.ndarray):
        picture = Pillow.fromarray(picture)
    assert isinstance(picture, Pillow.Image)
    height, width = resized_size(picture.height, picture.width, budget)
    return ImageAdded(picture.size, (width, height), height * width // PATCH**2)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)
