import threading

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import FRAME, RATE
from mlx_gemma4.runtime import client
from mlx_gemma4.runtime.client import BUFFER_SECONDS, UNFINISHED, Client
from mlx_gemma4.runtime.commands import AddText, Command, EndSpeech, Hear, Load, Reply, Stop
from mlx_gemma4.runtime.reports import Closed, Failed, Finished, Hearing, Report

SECOND = np.zeros((RATE // FRAME, FRAME), np.float32)


class Idler(Client):
    """Accepts commands and does nothing; reports what the test does."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[tuple[int, Command]] = []

    def _accept(self, number: int, command: Command) -> None:
        self.accepted.append((number, command))

    def report(self, number: int | None, event: object) -> None:
        self._report(Report(number, event))  # type: ignore[arg-type]

    def start(self) -> None:
        pass

    def close(self) -> None:
        self._end()


def test_each_command_has_an_id_of_its_own_but_the_frames_of_an_utterance_share_one() -> None:
    idler = Idler()
    commands = [AddText("a"), Hear(SECOND), AddText("b"), Hear(SECOND), EndSpeech(), Hear(SECOND)]
    assert [idler.send(command) for command in commands] == [1, 2, 3, 2, 4, 5]
    assert [number for number, _ in idler.accepted] == [1, 2, 3, 2, 4, 5]


def test_two_conversations_hear_at_once() -> None:
    idler = Idler()
    first = idler.send(Hear(SECOND, conversation="a"))
    second = idler.send(Hear(SECOND, conversation="b"))
    assert first != second
    idler.send(EndSpeech(conversation="b"))
    assert idler.send(Hear(SECOND, conversation="a")) == first
    assert idler.send(Hear(SECOND, conversation="b")) != second


def test_a_failure_names_the_conversation_of_its_command() -> None:
    idler = Idler()
    idler.send(AddText("a", conversation="b"))
    idler.send(Load("tiny"))
    idler.close()
    assert [report.conversation for report in idler] == ["b", None, None]


@pytest.mark.parametrize("command", [Reply(), Load("tiny")])
def test_a_reply_and_loading_a_model_end_an_utterance(command: Command) -> None:
    idler = Idler()
    first = idler.send(Hear(SECOND))
    idler.send(command)
    assert idler.send(Hear(SECOND)) != first


def test_frames_after_an_utterance_has_failed_begin_another() -> None:
    idler = Idler()
    first = idler.send(Hear(SECOND))
    idler.report(first, Failed("none", "", "", ""))
    assert idler.send(Hear(SECOND)) != first


def test_too_many_commands_are_refused_and_a_stop_is_not() -> None:
    idler = Idler()
    numbers = [idler.send(AddText("a")) for _ in range(UNFINISHED)]
    with pytest.raises(Gemma4Error, match=f"{UNFINISHED} commands wait"):
        idler.send(AddText("one more"))
    assert len(idler.accepted) == UNFINISHED
    idler.send(Stop())
    for number in numbers[:2]:
        idler.report(number, Finished())
    idler.send(AddText("now"))
    with pytest.raises(Gemma4Error):
        idler.send(AddText("one more"))


def test_sound_that_is_not_heard_is_accepted_up_to_a_bound_and_never_dropped() -> None:
    idler = Idler()
    for _ in range(BUFFER_SECONDS):
        number = idler.send(Hear(SECOND))
    with pytest.raises(Gemma4Error, match="cannot hear any more"):
        idler.send(Hear(SECOND))
    assert len(idler.accepted) == BUFFER_SECONDS
    idler.report(number, Hearing(heard=2.0, backlog=BUFFER_SECONDS - 2.0))
    for _ in range(2):
        assert idler.send(Hear(SECOND)) == number
    with pytest.raises(Gemma4Error):
        idler.send(Hear(SECOND))
    idler.report(number, Finished())
    idler.send(Hear(SECOND))


@pytest.mark.parametrize("shape", [(640,), (0, 640), (3, 512)])
def test_what_is_no_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Gemma4Error, match="wrong shape"):
        Idler().send(Hear(np.zeros(shape, np.float32)))


def test_reports_wait_for_a_slow_reader_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "UNREAD", 3)
    idler = Idler()
    reported = []
    full = threading.Event()

    def report() -> None:
        for number in range(20):
            if number == 3:
                full.set()
            idler.report(None, number)
            reported.append(number)
        idler.close()

    thread = threading.Thread(target=report)
    thread.start()
    assert full.wait(60)
    thread.join(0.1)
    assert reported == [0, 1, 2]
    *reports, last = idler
    thread.join()
    assert [report.event for report in reports] == list(range(20))
    assert last.event == Closed()


def test_reading_does_not_wait_for_ever_and_not_at_all_after_the_end() -> None:
    idler = Idler()
    assert idler.read(0.05) is None
    idler.close()
    assert [(report.command, report.event) for report in idler] == [(None, Closed())]
    assert idler.read() is None


def test_at_the_end_every_command_that_waits_has_failed_and_none_is_accepted() -> None:
    idler = Idler()
    numbers = [idler.send(AddText("a")), idler.send(Reply())]
    idler.close()
    *failures, last = idler
    assert [report.command for report in failures] == numbers
    assert all(isinstance(report.event, Failed) for report in failures)
    assert last.event == Closed()
    with pytest.raises(Gemma4Error, match="closed"):
        idler.send(AddText("b"))


def test_waiting_for_a_command_returns_what_else_comes_and_raises_its_failure() -> None:
    idler = Idler()
    first, second = idler.send(AddText("a")), idler.send(AddText("b"))
    idler.report(second, Finished())
    idler.report(first, Finished())
    assert [report.command for report in idler.until(first)] == [second, first]
    third = idler.send(AddText("c"))
    idler.report(third, Failed("so", "It is so", "because.", "Do this."))
    with pytest.raises(Gemma4Error, match="It is so") as caught:
        list(idler.until(third))
    assert (caught.value.cause, caught.value.remedy) == ("because.", "Do this.")
    fourth = idler.send(AddText("d"))
    idler.close()
    with pytest.raises(Gemma4Error, match="closed"):
        list(idler.until(fourth))
