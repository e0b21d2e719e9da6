"""The one thread that owns MLX: it carries out the commands of several conversations in steps.

A command becomes a job of its conversation (`slots.py` does the work), and the scheduler decides
whose step is next. Between two steps the thread takes in what was sent; a stop is a flag that the
work looks at between tokens and between chunks.

The thread is the process's own and never ends. MLX keeps Python objects by thread (the random
state, which making a layer uses) and frees them when a thread ends; where that meets the end of
the interpreter, Python 3.11 and 3.12 abort. A thread that waits for work does no harm.
"""

import atexit
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..errors import Gemma4Error
from ..events import Event
from ..threads import guarded
from .client import ENDS_SPEECH, Client
from .commands import Command, EndSpeech, Hear, InConversation, Load, Stop
from .pace import FRAME_SECONDS, LONGEST
from .reports import Failed, FellBehind, Finished, Hearing, Idle, Report, WorkerEvent
from .scheduler import Priority, ScheduledJob, Scheduler, Work
from .threads import start_thread
from .utterance import UnreadSpeech

if TYPE_CHECKING:
    from .slots import Slots

log = logging.getLogger(__name__)


class _Owner:
    """The thread that owns MLX in this process, started when it is first needed."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = self._lent = False

    def lend(self, work: Callable[[], None]) -> None:
        """Run this on the thread. Raises Gemma4Error where that has other work."""
        with self._lock:
            if self._lent:
                raise Gemma4Error(
                    "worker_exists",
                    "There is a worker already",
                    "One thread of a process may use MLX, and another worker has it.",
                    "Close that worker, or use a SubprocessWorker.",
                )
            self._lent = True
            if not self._started:
                start_thread(self._serve, "mlx")
                self._started = True
        self._work.put(work)

    def release(self) -> None:
        """Make the thread free for another worker; called at the end of the work."""
        with self._lock:
            self._lent = False

    def _serve(self) -> None:
        while True:
            guarded(self._work.get(), "mlx")


_owner = _Owner()


class Worker(Client):
    """A worker in a thread of this process, one at a time: what crashes MLX ends the program.

    Raises:
        Gemma4Error: if another one is not closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._inbox: deque[tuple[int, Command]] = deque()
        self._stops: Counter[str] = Counter()  # conversation -> stops whose turn has not come
        self._spoken: set[str] = set()  # conversations that heard something since their last reply
        self._speech: dict[str, UnreadSpeech] = {}  # the latest of each conversation
        self._loading = False  # the job that was added last is a `Load`
        self._scheduler = Scheduler(lambda of, e: self._report(Report(None, _failed(e), of)))
        self._slots: Slots
        _owner.lend(self._run)
        atexit.register(self.close)  # before Python stops daemon threads in the middle of MLX

    def start(self) -> None:
        """Do nothing: it has run since it was made, and what crashes it ends the program."""

    def close(self) -> None:
        """Cancel within one token or chunk, free MLX's memory, and let another worker have it."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._closed)
        atexit.unregister(self.close)

    def _accept(self, number: int, command: Command) -> None:
        if isinstance(command, Stop):
            self._stops[command.conversation] += 1
        self._inbox.append((number, command))

    def _run(self) -> None:
        try:
            from .slots import Slots

            self._slots = Slots(
                self._scheduler.urgent, lambda event: self._report(Report(None, event))
            )
            self._work()
            self._scheduler.close()
            self._slots.close()
        except Exception as error:
            self._report(Report(None, _failed(error)))
        _owner.release()
        self._end()

    def _work(self) -> None:
        rested = False  # whether `Idle` was reported since the last step
        while not self._closing:
            self._take_in()
            if self._scheduler.step():
                rested = False
                continue
            if not rested and not self._scheduler.busy:
                rested = True
                self._report(Report(None, Idle()))
            with self._lock:
                self._lock.wait_for(lambda: self._inbox or self._closing)

    def _take_in(self) -> None:
        """Make jobs of what was sent. A `Load` waits for all before it, and all after it waits."""
        while self._inbox:
            loads = isinstance(self._inbox[0][1], Load)
            if (loads or self._loading) and self._scheduler.busy:
                for speech in self._speech.values():
                    speech.over = True
                return
            self._loading = loads
            with self._lock:
                number, command = self._inbox.popleft()
            if isinstance(command, Load):
                self._add(number, None, Priority.CHAT, self._slots.load(command))
            elif isinstance(command, Hear):
                self._add_frames(number, command)
            else:
                self._add_command(number, command)

    def _add_command(self, number: int, command: InConversation) -> None:
        conversation = command.conversation
        speech = self._speech.get(conversation)
        if speech is not None and isinstance(command, ENDS_SPEECH):
            speech.over = True
            del self._speech[conversation]
        priority = Priority.SPOKEN if conversation in self._spoken else Priority.CHAT
        if isinstance(command, Stop):  # what it cancels ends at once
            self._add_stop(number, conversation)
            return
        if isinstance(command, ENDS_SPEECH) and not isinstance(command, EndSpeech):
            self._spoken.discard(conversation)
        work = self._slots.work(command, lambda: self._stops[conversation] > 0 or self._closing)
        self._add(number, conversation, priority, work)

    def _add_stop(self, number: int, conversation: str) -> None:
        def work() -> Work:
            with self._lock:
                self._stops[conversation] -= 1
            yield

        self._add(number, conversation, Priority.HEARING, work(), stops=True)

    def _add_frames(self, number: int, command: Hear) -> None:
        conversation = command.conversation
        speech = self._speech.get(conversation)
        if speech is None or speech.number != number:
            speech = self._speech[conversation] = UnreadSpeech(number)
            self._spoken.add(conversation)
            work = self._hear(conversation, speech)
            self._add(number, conversation, Priority.HEARING, work, speech)
        speech.add(command.frames)

    def _add(
        self,
        number: int,
        conversation: str | None,
        priority: Priority,
        work: Generator[Event | WorkerEvent | None],
        speech: UnreadSpeech | None = None,
        stops: bool = False,
    ) -> None:
        """Queue a job whose work yields what it reports, or None."""

        def reporting() -> Work:
            for event in work:
                if event is not None:
                    self._report(Report(number, event, conversation))
                yield

        def ended(error: Exception | None) -> None:
            event = Finished() if error is None else _failed(error)
            if conversation is not None:
                if conversation in self._speech:
                    self._speech[conversation].alone = False
                puts_off = stops and self._slots.rereads(conversation)
                idle = None if puts_off else self._idle_work(conversation)
                self._scheduler.idle(conversation, idle)
            self._report(Report(number, event, conversation))

        job = ScheduledJob(reporting(), priority, ended)
        if speech is not None:
            job.ready, job.yields = speech.ready, speech.yields
        self._scheduler.add(conversation, job)

    def _hear(self, conversation: str, speech: UnreadSpeech) -> Generator[None]:
        """Hear an utterance to its end; commands that come meanwhile run between chunks."""

        def report(events: Iterable[Event | WorkerEvent]) -> None:
            for event in events:
                self._report(Report(speech.number, event, conversation))

        heard = 0
        while not (self._closing or (speech.over and not speech.waiting)):
            hold = speech.over or speech.pace.behind
            frames = speech.take(speech.waiting if hold else LONGEST)
            took, started = 0.0, time.perf_counter()
            if hold:
                self._slots.session(conversation).hold(frames)
            else:
                speech.reading = True
                for _ in self._slots.session(conversation).listening(frames):
                    took += time.perf_counter() - started
                    yield
                    started = time.perf_counter()  # others may have worked in between
                speech.reading = False
            took += time.perf_counter() - started
            heard += len(frames)
            seconds, backlog = heard * FRAME_SECONDS, speech.waiting * FRAME_SECONDS
            report([Hearing(seconds, backlog, 0 if hold else len(frames), took)])
            report(self._slots.notices(conversation))
            if speech.alone and not hold:
                speech.pace.count(len(frames), took)
                if speech.pace.behind:
                    report([FellBehind(speech.pace.speed)])
            speech.alone = True
            yield
        report(self._slots.figures(conversation))

    def _idle_work(self, conversation: str) -> Work:
        for event in self._slots.idle(conversation):
            if event is not None:
                self._report(Report(None, event, conversation))
            yield


def _failed(error: Exception) -> Failed:
    if not isinstance(error, Gemma4Error):
        log.error("A defect", exc_info=error)
    return Failed.of(error)
