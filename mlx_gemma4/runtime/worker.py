"""The one thread that owns MLX: does commands in their order, and hears while somebody speaks.

It blocks while there is nothing to do, and before that does the conversation's deferred work, which
the next command interrupts. A stop is a flag that is read between tokens and between chunks.

The thread is the process's own and never ends. MLX keeps Python objects by thread (the random
state, which making a layer uses) and frees them when a thread ends; where that meets the end of
the interpreter, Python 3.11 and 3.12 abort. A thread that waits for work does no harm.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error
from .client import ENDS_SPEECH, Port
from .commands import Command, Hear, Stop
from .pace import FRAME_SECONDS, LONGEST, SHORTEST, Pace
from .reports import Failed, FellBehind, Finished, Hearing, Idle, Report

Frames = NDArray[np.float32]


@dataclass(eq=False)
class _Utterance:
    """Frames that came and are not read yet, in the order of speech."""

    number: int
    frames: deque[Frames] = field(default_factory=deque)
    waiting: int = 0
    over: bool = False

    def add(self, frames: Frames) -> None:
        self.frames.append(np.asarray(frames, np.float32))
        self.waiting += len(frames)

    def take(self, most: int) -> Frames:
        """Take the first frames out."""
        together = np.concatenate([*self.frames])
        self.frames.clear()
        if len(together) > most:
            self.frames.append(together[most:])
        self.waiting = max(0, self.waiting - most)
        return together[:most]


class _Owner:
    """The thread that owns MLX in this process, started when it is first needed."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = self._lent = False

    def lend(self, work: Callable[[], None]) -> None:
        """Do this on the thread.

        Raises:
            Gemma4Error: if it does something else.
        """
        with self._lock:
            if self._lent:
                raise Gemma4Error(
                    "worker_exists",
                    "There is an engine already",
                    "One thread of a process may use MLX, and another engine has it.",
                    "Close that engine, or use an EngineProcess.",
                )
            self._lent = True
            if not self._started:
                threading.Thread(target=self._serve, name="mlx", daemon=True).start()
                self._started = True
        self._work.put(work)

    def give_back(self) -> None:
        """Say that the thread is free again; called at the end of the work."""
        with self._lock:
            self._lent = False

    def _serve(self) -> None:
        while True:
            self._work.get()()


_owner = _Owner()


class Engine(Port):
    """An engine in a thread of this process, one at a time: what crashes MLX ends the program.

    Raises:
        Gemma4Error: if another one is not closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._inbox: deque[tuple[int, Command] | _Utterance] = deque()
        self._speech: _Utterance | None = None
        self._stops = 0  # stops that were asked for and whose turn has not come
        _owner.lend(self._run)
        atexit.register(self.close)  # before Python stops daemon threads in the middle of MLX

    def start(self) -> None:
        """Do nothing: it runs from the beginning, and what crashes it ends the program."""

    def close(self) -> None:
        """Stop within one token or chunk, free MLX's memory, and let another engine have it."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._closed)
        atexit.unregister(self.close)

    def _accept(self, number: int, command: Command) -> None:
        if isinstance(command, Hear):
            if self._speech is None or self._speech.number != number:
                self._speech = _Utterance(number)
                self._inbox.append(self._speech)
            self._speech.add(command.frames)
            return
        if isinstance(command, Stop):
            self._stops += 1
        elif isinstance(command, ENDS_SPEECH) and self._speech is not None:
            self._speech.over = True
            self._speech = None
        self._inbox.append((number, command))

    def _run(self) -> None:
        try:
            from .actions import Actions

            self._actions = Actions(lambda: self._stops > 0 or self._closing)
            while (item := self._next()) is not None:
                if isinstance(item, _Utterance):
                    self._listen(item)
                else:
                    self._do(*item)
            self._actions.close()
        except Exception as error:
            self._tell(Report(None, Failed.by(error)))
        _owner.give_back()
        self._end()

    def _next(self) -> tuple[int, Command] | _Utterance | None:
        """Wait for something to do; None at the end."""
        more = True
        while True:
            if not more and not self._called():
                self._tell(Report(None, Idle()))
            with self._lock:
                if not more:
                    self._lock.wait_for(self._called)
                if self._closing:
                    return None
                if self._inbox:
                    return self._inbox.popleft()
            try:
                more = self._actions.idle(self._called)
                self._actions.notices(lambda event: self._tell(Report(None, event)))
            except Exception as error:
                self._tell(Report(None, Failed.by(error)))
                more = False

    def _called(self) -> bool:
        return bool(self._inbox) or self._closing

    def _do(self, number: int, command: Command) -> None:
        try:
            self._actions.perform(command, lambda event: self._tell(Report(number, event)))
        except Exception as error:
            self._tell(Report(number, Failed.by(error)))
        else:
            self._tell(Report(number, Finished()))
        if isinstance(command, Stop):
            with self._lock:
                self._stops -= 1

    def _listen(self, speech: _Utterance) -> None:
        """Hear an utterance to its end; commands that come meanwhile are done between chunks."""
        try:
            self._hear(speech)
            self._actions.figures(lambda event: self._tell(Report(speech.number, event)))
        except Exception as error:
            self._tell(Report(speech.number, Failed.by(error)))
        else:
            self._tell(Report(speech.number, Finished()))

    def _hear(self, speech: _Utterance) -> None:
        pace = Pace()
        heard = 0
        alone = False  # whether a chunk has nothing but sound to read; the first has not
        while True:
            wanted = SHORTEST if pace.behind else pace.frames
            with self._lock:
                self._lock.wait_for(
                    lambda: self._called() or speech.over or speech.waiting >= wanted  # noqa: B023
                )
                if self._closing or (speech.over and not speech.waiting):
                    return
                command = None if speech.over or not self._inbox else self._inbox.popleft()
                hold = speech.over or pace.behind
                if command is None:
                    frames = speech.take(speech.waiting if hold else LONGEST)
            if command is not None:
                assert isinstance(command, tuple), "an utterance follows only one that is over"
                self._do(*command)
                alone = False
                continue
            began = time.perf_counter()
            (self._actions.hold if hold else self._actions.hear)(frames)
            took = time.perf_counter() - began
            heard += len(frames)
            new, waiting = (0 if hold else len(frames)), speech.waiting
            self._tell(
                Report(
                    speech.number,
                    Hearing(heard * FRAME_SECONDS, waiting * FRAME_SECONDS, new, took),
                )
            )
            self._actions.notices(lambda event: self._tell(Report(speech.number, event)))
            if alone and not hold:
                pace.count(len(frames), took)
                if pace.behind:
                    self._tell(Report(speech.number, FellBehind(pace.speed)))
            alone = True
