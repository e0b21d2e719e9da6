"""Which step is next, by hand: no thread, no clock, no model."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from mlx_gemma4.runtime.scheduler import Priority, ScheduledJob, Scheduler, Work


class Script:
    """Jobs that write down their steps, and how they ended."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.scheduler = Scheduler(lambda name, error: self.log.append(f"{name} failed: {error}"))

    def work(self, name: str, steps: int, fails: bool = False) -> Work:
        try:
            for step in range(steps):
                self.log.append(f"{name}{step}")
                yield
            if fails:
                raise ValueError(name)
        except GeneratorExit:
            self.log.append(f"{name} closed")
            raise

    def add(
        self,
        conversation: str,
        name: str,
        steps: int,
        priority: Priority = Priority.CHAT,
        fails: bool = False,
    ) -> ScheduledJob:
        def ended(error: Exception | None) -> None:
            self.log.append(f"{name} {'ended' if error is None else f'failed: {error}'}")

        job = ScheduledJob(self.work(name, steps, fails), priority, ended)
        self.scheduler.add(conversation, job)
        return job

    def run(self, steps: int = 1000) -> list[str]:
        """Run so many steps, or until nothing is ready; what was written down meanwhile."""
        before = len(self.log)
        while steps and self.scheduler.step():
            steps -= 1
        return self.log[before:]


def test_jobs_of_one_conversation_run_in_their_order() -> None:
    script = Script()
    script.add("x", "a", 2)
    script.add("x", "b", 1)
    assert script.run() == ["a0", "a1", "a ended", "b0", "b ended"]
    assert not script.scheduler.step()


def test_chats_take_turns_step_by_step() -> None:
    script = Script()
    script.add("x", "a", 3)
    script.add("y", "b", 2)
    script.add("z", "c", 3)
    assert script.run(8) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b ended"]


def test_a_spoken_reply_does_not_wait_for_a_long_chat_and_hearing_for_neither() -> None:
    script = Script()
    script.add("x", "chat", 100)
    script.run(3)
    script.add("y", "spoken", 2, Priority.SPOKEN)
    assert script.run(1) == ["spoken0"]
    script.add("z", "hearing", 1, Priority.HEARING)
    assert script.run(4) == ["hearing0", "hearing ended", "spoken1", "spoken ended"]
    assert script.run(1) == ["chat3"]


def test_what_stands_before_an_urgent_job_is_as_urgent() -> None:
    script = Script()
    script.add("x", "chat", 5)
    script.run(1)
    script.add("y", "text", 1)
    script.add("y", "spoken", 1, Priority.SPOKEN)
    assert script.run(4) == ["text0", "text ended", "spoken0", "spoken ended"]


def test_idle_work_runs_when_nothing_else_does_and_ends_where_it_is_for_a_job() -> None:
    script = Script()
    script.add("x", "a", 1)
    script.scheduler.idle("x", script.work("idle", 10))
    script.add("y", "b", 1)
    assert script.run(2) == ["a0", "b0"]
    assert script.run(2) == ["a ended", "b ended"]
    script.scheduler.idle("x", script.work("idle", 10))
    assert script.run(2) == ["idle0", "idle1"]
    script.add("y", "c", 1)
    assert script.run(3) == ["c0", "c ended", "idle2"]
    assert not script.scheduler.busy
    script.add("x", "d", 1)
    assert script.run() == ["idle closed", "d0", "d ended"][1:]
    assert "idle closed" in script.log


def test_idle_work_of_several_conversations_takes_turns() -> None:
    script = Script()
    script.scheduler.idle("x", script.work("a", 2))
    script.scheduler.idle("y", script.work("b", 2))
    assert script.run(4) == ["a0", "b0", "a1", "b1"]


def test_a_job_that_raises_ends_alone() -> None:
    script = Script()
    script.add("x", "a", 1, fails=True)
    script.add("x", "b", 1)
    script.add("y", "c", 2)
    assert script.run() == ["a0", "c0", "a failed: a", "c1", "b0", "c ended", "b ended"]


def test_idle_work_that_raises_is_reported_and_the_others_go_on() -> None:
    script = Script()
    script.scheduler.idle("x", script.work("a", 1, fails=True))
    script.add("y", "b", 1)
    assert script.run() == ["b0", "b ended", "a0", "x failed: a"]


def test_a_job_that_is_not_ready_holds_up_its_conversation_only() -> None:
    script = Script()
    job = script.add("x", "hearing", 2, Priority.HEARING)
    frames: list[int] = []
    job.ready = lambda: bool(frames)
    script.add("x", "after", 1)
    script.add("y", "chat", 2)
    assert script.run() == ["chat0", "chat1", "chat ended"]
    assert script.scheduler.busy
    frames.append(1)
    assert script.run() == ["hearing0", "hearing1", "hearing ended", "after0", "after ended"]


def test_jobs_behind_one_that_yields_run_before_its_next_step_and_whole() -> None:
    script = Script()
    yields = True
    job = script.add("x", "hearing", 3, Priority.HEARING)
    job.yields = lambda: yields
    assert script.run(1) == ["hearing0"]
    script.add("x", "picture", 2)
    assert script.run(1) == ["picture0"]
    yields = False  # the utterance is over: but the picture is in the middle of its work
    assert script.run(3) == ["picture1", "picture ended", "hearing1"]
    script.add("x", "reply", 1)
    assert script.run() == ["hearing2", "hearing ended", "reply0", "reply ended"]


def test_whether_somebody_speaks_elsewhere() -> None:
    script = Script()
    script.add("x", "chat", 1)
    assert not script.scheduler.urgent("y")
    script.add("y", "spoken", 1, Priority.SPOKEN)
    assert script.scheduler.urgent("x")
    assert not script.scheduler.urgent("y")
    script.run()
    assert not script.scheduler.urgent("x")


def test_closing_ends_what_is_in_the_middle_and_drops_what_has_not_begun() -> None:
    script = Script()
    script.add("x", "a", 2)
    script.add("x", "b", 2)
    script.add("y", "c", 2)
    script.scheduler.idle("z", script.work("idle", 9))
    script.run(1)
    script.scheduler.close()
    assert script.log == ["a0", "a1", "a ended"]
    assert not script.scheduler.step()


def test_a_job_may_be_added_by_one_that_ends() -> None:
    script = Script()
    job = script.add("x", "a", 1)
    job.ended = lambda _: script.scheduler.idle("x", script.work("idle", 1))
    assert script.run() == ["a0", "idle0"]


Jobs = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from(list(Priority)[:3]), st.integers(0, 4)),
    max_size=12,
)


@given(Jobs, st.lists(st.integers(1, 5), max_size=12))
def test_every_job_ends_once_in_the_order_of_its_conversation(
    jobs: list[tuple[str, Priority, int]], pauses: list[int]
) -> None:
    ended: list[tuple[str, int]] = []
    scheduler = Scheduler(lambda *_: None)

    def steps(count: int) -> Work:
        for _ in range(count):
            yield

    def end_of(conversation: str, number: int) -> Callable[[Exception | None], None]:
        return lambda error: ended.append((conversation, number))

    for number, (conversation, priority, count) in enumerate(jobs):
        scheduler.add(
            conversation, ScheduledJob(steps(count), priority, end_of(conversation, number))
        )
        for _ in range(pauses[number] if number < len(pauses) else 0):
            scheduler.step()
    while scheduler.step():
        pass
    assert len(ended) == len(jobs) == len({*ended})
    for conversation in "xyz":
        numbers = [number for name, number in ended if name == conversation]
        assert numbers == sorted(numbers)
    assert not scheduler.busy
