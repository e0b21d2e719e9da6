"""Which work is done next: generators that yield after each chunk or token, run by priority.

Pure Python: it knows neither MLX nor commands nor time. Jobs of one conversation run in their
order. Between conversations the most urgent goes first, and equals take turns, step by step.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import IntEnum

Work = Generator[None]
"""Work in steps."""


class Priority(IntEnum):
    """How urgent work is; the lowest number first."""

    HEARING = 0
    SPOKEN = 1
    """The reply to something spoken: somebody waits in silence."""
    CHAT = 2
    IDLE = 3
    """What nobody waits for yet."""


@dataclass(eq=False)
class ScheduledJob:
    """Work for a conversation.

    Attributes:
        priority: of this job. While it is queued, those before it are as urgent.
        ended: called once, with the exception that ended it, or None.
        ready: whether a step can be run now; else the job waits, for sound that is yet to come.
        yields: whether jobs behind it may be run before its next step.
    """

    work: Work
    priority: Priority
    ended: Callable[[Exception | None], None]
    ready: Callable[[], bool] = lambda: True
    yields: Callable[[], bool] = lambda: False


@dataclass(eq=False)
class _Lane:
    """The jobs of one conversation, the one in the middle of its work, and the idle work."""

    jobs: deque[ScheduledJob] = field(default_factory=deque)
    current: ScheduledJob | None = None
    idle: Work | None = None

    @property
    def priority(self) -> Priority:
        return min((job.priority for job in self.jobs), default=Priority.IDLE)

    def next(self) -> ScheduledJob | None:
        """Return the job whose step is due; None while there is none."""
        if not self.jobs:
            return None
        due = self.current or self.jobs[0]
        if due.yields() and len(self.jobs) > 1:
            return self.jobs[1]
        return due if due.ready() else None


class Scheduler:
    """Runs the jobs of several conversations.

    Args:
        failed: called with the conversation and the exception where its idle work fails.
    """

    def __init__(self, failed: Callable[[str | None, Exception], None]) -> None:
        self._failed = failed
        self._lanes: dict[str | None, _Lane] = {}

    @property
    def busy(self) -> bool:
        """Whether a job has not ended; idle work does not count."""
        return any(lane.jobs for lane in self._lanes.values())

    def urgent(self, besides: str | None) -> bool:
        """Whether somebody speaks, or waits for a spoken reply, in another conversation."""
        return any(
            lane.priority <= Priority.SPOKEN
            for conversation, lane in self._lanes.items()
            if conversation != besides
        )

    def add(self, conversation: str | None, job: ScheduledJob) -> None:
        """Queue a job. The conversation's idle work ends where it is."""
        lane = self._lanes.setdefault(conversation, _Lane())
        self._end_idle(lane)
        lane.jobs.append(job)

    def idle(self, conversation: str | None, work: Work | None) -> None:
        """Set what is done while the conversation has no jobs; None: nothing."""
        lane = self._lanes.setdefault(conversation, _Lane())
        self._end_idle(lane)
        lane.idle = work

    def step(self) -> bool:
        """Run one step of the most urgent work; return whether any was ready."""
        due = [
            (lane.priority, conversation)
            for conversation, lane in self._lanes.items()
            if lane.next() is not None or (not lane.jobs and lane.idle is not None)
        ]
        if not due:
            return False
        _, conversation = min(due, key=lambda one: one[0])  # of equals the first
        lane = self._lanes.pop(conversation)
        self._lanes[conversation] = lane  # its turn comes again after the others'
        job = lane.next()
        if job is None:
            self._step_idle(conversation, lane)
        else:
            self._step_job(lane, job)
        if not lane.jobs and lane.idle is None and self._lanes.get(conversation) is lane:
            del self._lanes[conversation]
        return True

    def close(self) -> None:
        """Run the jobs that are in the middle of their work to their end, and drop all others.

        Whoever closes has them cancelled before, so that this takes a step or two each.
        """
        lanes = [*self._lanes.values()]
        self._lanes.clear()
        for lane in lanes:
            self._end_idle(lane)
            while (job := lane.current) is not None:
                self._step_job(lane, job)

    def _step_job(self, lane: _Lane, job: ScheduledJob) -> None:
        error: Exception | None = None
        lane.current = job
        try:
            next(job.work)
            return
        except StopIteration:
            pass
        except Exception as raised:
            error = raised
        lane.jobs.remove(job)
        lane.current = None
        job.ended(error)

    def _step_idle(self, conversation: str | None, lane: _Lane) -> None:
        work = lane.idle
        assert work is not None
        try:
            next(work)
            return
        except StopIteration:
            pass
        except Exception as error:
            self._failed(conversation, error)
        if lane.idle is work:
            lane.idle = None

    def _end_idle(self, lane: _Lane) -> None:
        if lane.idle is not None:
            lane.idle.close()
            lane.idle = None
