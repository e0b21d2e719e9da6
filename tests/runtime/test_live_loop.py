"""The loop from a source through a gate to a client, with scripted parts and without a clock."""

import threading
from collections import deque

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.commands import Command, EndSpeech, Hear
from mlx_gemma4.runtime.live import EverythingGate, Live, LiveObserver
from mlx_gemma4.runtime.reports import Failed

PATIENCE = 60.0


def sound(*values: float) -> np.ndarray:
    """One frame for each value, which all its samples have."""
    return np.repeat(np.array(values, np.float32)[:, None], 640, 1)


class Recorder(Client):
    """Accepts commands and does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[Command] = []

    def _accept(self, number: int, command: Command) -> None:
        self.accepted.append(command)

    def start(self) -> None:
        pass

    def close(self) -> None:
        self._end()

    @property
    def received(self) -> list[object]:
        """Values of the frames that were sent, and the types of the other commands."""
        told: list[object] = []
        for command in self.accepted:
            if isinstance(command, Hear):
                told += [round(float(value), 1) for value in command.frames[:, 0]]
            else:
                told.append(type(command))
        return told


class Script:
    """A source that returns the given pieces, raises the exceptions, and ends at None."""

    name, level = "script", -18.0

    def __init__(self, *pieces: np.ndarray | Exception | None, silent: float = 0.0) -> None:
        self.pieces = deque(pieces)
        self.silent_seconds = silent
        self.more = threading.Condition()
        self.closed = False

    def add(self, *pieces: np.ndarray | None) -> None:
        with self.more:
            self.pieces.extend(pieces)
            self.more.notify_all()

    def read(self, timeout: float) -> np.ndarray | None:
        with self.more:
            if not self.more.wait_for(lambda: self.pieces, timeout):
                return sound()[:0].reshape(0, 640)
            piece = self.pieces.popleft()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True


class LoudGate:
    """Speech is what is above 0.5; an utterance ends at the first frame below."""

    def __init__(self) -> None:
        self.open = False

    def shut(self) -> None:
        self.open = False

    def add(self, frames: np.ndarray) -> list[np.ndarray | None]:
        passed: list[np.ndarray | None] = []
        for frame in frames:
            was, self.open = self.open, bool(frame[0] > 0.5)
            if self.open:
                passed.append(frame[None])
            elif was:
                passed.append(None)
        return passed


class Observer(LiveObserver):
    """Writes down what it is called with."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.over = threading.Event()

    def opened(self, name: str) -> None:
        self.log.append(name)

    def speech_started(self) -> None:
        self.log.append("began")

    def heard(self, frames: np.ndarray) -> None:
        self.log.append(len(frames))

    def ended(self) -> None:
        self.log.append("ended")

    def silent(self, silent: bool) -> None:
        self.log.append(("silent", silent))

    def lost(self, failed: Failed) -> None:
        self.log.append(failed)
        self.over.set()


def run(
    source: Script, observer: LiveObserver, gate: type = LoudGate, conversation: str = "main"
) -> Recorder:
    """Listen until the source ends."""
    client = Recorder()
    live = Live(client, lambda: source, gate, observer, conversation)
    live._thread.join(PATIENCE)
    assert live.over
    return client


def test_what_is_spoken_is_heard_and_each_utterance_ends() -> None:
    observer = Observer()
    source = Script(sound(0, 0.9, 0.8), sound(0.7, 0, 0), sound(0.6), None)
    client = run(source, observer)
    assert client.received == [0.9, 0.8, 0.7, EndSpeech, 0.6, EndSpeech]
    expected = ["script", "began", 1, 1, 1, "ended", "began", 1, "ended"]
    assert observer.log == expected
    assert source.closed


def test_frames_are_sent_to_the_conversation_that_listens() -> None:
    client = run(Script(sound(0.9), None), Observer(), conversation="b")
    assert {command.conversation for command in client.accepted} == {"b"}  # type: ignore[union-attr]


def test_without_a_gate_all_of_it_is_one_utterance() -> None:
    client = run(Script(sound(0, 0.9), sound(0, 0.1), None), Observer(), EverythingGate)
    assert client.received == [0.0, 0.9, 0.0, 0.1, EndSpeech]


def test_where_nobody_speaks_nothing_is_sent() -> None:
    observer = Observer()
    assert run(Script(sound(0, 0), None), observer).accepted == []
    assert observer.log == ["script"]


def test_the_beginning_is_announced_before_anything_is_sent() -> None:
    sent_before: list[int] = []
    client = Recorder()

    class Counts(LiveObserver):
        def speech_started(self) -> None:
            sent_before.append(len(client.accepted))

    source = Script(sound(0.9, 0.9), None)
    live = Live(client, lambda: source, LoudGate, Counts())
    live._thread.join(PATIENCE)
    assert sent_before == [0]


def test_a_cut_ends_the_utterance_and_leaves_out_what_is_spoken_until_the_pause() -> None:
    class Cuts(Observer):
        def heard(self, frames: np.ndarray) -> None:
            super().heard(frames)
            self.first.set()

        first = threading.Event()

    observer, client = Cuts(), Recorder()
    source = Script(sound(0.9))
    live = Live(client, lambda: source, LoudGate, observer)
    assert observer.first.wait(PATIENCE)
    live.cut()
    source.add(sound(0.8, 0.7, 0), sound(0.6, 0), None)
    live._thread.join(PATIENCE)
    assert client.received == [0.9, 0.6, EndSpeech]
    assert observer.log == ["script", "began", 1, "began", 1, "ended"]


def test_a_cut_while_nobody_speaks_leaves_nothing_out() -> None:
    client, source = Recorder(), Script()
    live = Live(client, lambda: source, LoudGate, Observer())
    live.cut()
    source.add(sound(0.9, 0), None)
    live._thread.join(PATIENCE)
    assert client.received == [0.9, EndSpeech]


def test_after_a_close_nothing_is_sent_or_called() -> None:
    observer, client, source = Observer(), Recorder(), Script()
    live = Live(client, lambda: source, LoudGate, observer)
    live.close()
    source.add(sound(0.9, 0), None)
    live._thread.join(PATIENCE)
    assert client.accepted == []
    assert "began" not in observer.log
    assert source.closed


def test_an_observer_that_closes_it_when_speech_begins_is_sent_nothing() -> None:
    client, source = Recorder(), Script(sound(0.9, 0.9, 0), None)

    class Closes(Observer):
        def speech_started(self) -> None:
            live.close()

    ready = threading.Event()

    def open_source() -> Script:
        ready.wait(PATIENCE)
        return source

    live = Live(client, open_source, LoudGate, Closes())
    ready.set()
    live._thread.join(PATIENCE)
    assert client.accepted == []


def test_nothing_is_heard_while_it_is_muted() -> None:
    client, source = Recorder(), Script()
    live = Live(client, lambda: source, LoudGate, Observer())
    live.muted = True
    source.add(sound(0.9, 0.9))
    while source.pieces:
        pass
    source.add(sound(0.9))
    while source.pieces:
        pass
    live.close()
    live._thread.join(PATIENCE)
    assert client.accepted == []


def test_one_that_is_muted_from_the_start_hears_not_even_the_first_frames() -> None:
    client, source = Recorder(), Script(sound(0.9, 0.9, 0), None)
    live = Live(client, lambda: source, LoudGate, Observer(), muted=True)
    live._thread.join(PATIENCE)
    assert client.accepted == []


def test_a_source_of_zeros_is_reported_once_and_again_when_it_sounds() -> None:
    observer = Observer()
    source = Script(silent=1.0)
    client = Recorder()
    live = Live(client, lambda: source, LoudGate, observer)
    source.add(sound(*[0.0] * 14), sound(0))
    while source.pieces:
        pass
    source.add(sound(0))
    while ("silent", True) not in observer.log:
        pass
    source.silent_seconds = 0.0
    source.add(sound(0.1), None)
    live._thread.join(PATIENCE)
    assert observer.log == ["script", ("silent", True), ("silent", False)]


def test_a_pause_of_zeros_after_speech_is_no_silent_microphone_until_it_lasts() -> None:
    observer = Observer()
    source = Script()
    live = Live(Recorder(), lambda: source, LoudGate, observer)
    source.add(sound(*[0.1] * 14))
    for seconds in (1.5, 9.0):  # a microphone that removes noise; one that was muted
        while source.pieces:
            pass
        source.silent_seconds = seconds
        source.add(sound(0), sound(0))
    source.add(None)
    live._thread.join(PATIENCE)
    assert observer.log == ["script", ("silent", True)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Gemma4Error("microphone_stopped", "Gone", "It is.", "Look."), "microphone_stopped"),
        (ZeroDivisionError("a defect"), "internal_error"),
    ],
)
def test_whatever_ends_the_loop_is_reported(error: Exception, code: str) -> None:
    observer = Observer()
    source = Script(sound(0.9), error)
    run(source, observer)
    assert observer.over.wait(PATIENCE)
    failed = observer.log[-1]
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert source.closed


def test_a_source_that_cannot_be_opened_is_reported() -> None:
    def fail() -> Script:
        raise Gemma4Error("microphone_missing", "There is none", "None.", "Connect one.")

    observer = Observer()
    Live(Recorder(), fail, LoudGate, observer)
    assert observer.over.wait(PATIENCE)
    assert isinstance(observer.log[-1], Failed)
    assert observer.log[-1].code == "microphone_missing"


def test_a_worker_that_does_not_take_the_sound_ends_the_loop() -> None:
    observer, client = Observer(), Recorder()
    client.close()
    Live(client, lambda: Script(sound(0.9), None), LoudGate, observer)
    assert observer.over.wait(PATIENCE)
    assert isinstance(observer.log[-1], Failed)
    assert observer.log[-1].code == "worker_closed"
