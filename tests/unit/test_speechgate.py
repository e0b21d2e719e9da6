from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.capture.speechgate import CLOSES_AFTER, KEPT, OPENS_AFTER, WINDOW, SpeechGate
from mlx_gemma4.media.audio import FRAME, RATE, frames, open_sound

DEMO = Path(__file__).parents[2] / "assets" / "demo"
FRAME_SECONDS = FRAME / RATE
LATE = 2  # frames of quiet: that in which a window was still loud, and that in which one was not


def level(samples: np.ndarray) -> float:
    """A detector for tests: the sound's level is the probability."""
    return float(samples.mean())


def signal(*pieces: tuple[float, float]) -> np.ndarray:
    """Frames whose samples are a level for so many seconds, then the next."""
    return frames(np.concatenate([np.full(round(s * RATE), p, np.float32) for p, s in pieces]))


def passed(gate: SpeechGate, sound: np.ndarray) -> tuple[float, int]:
    """Seconds that were let through, and how often an utterance ended."""
    pieces = [piece for frame in sound for piece in gate.add(frame[None])]
    let = sum(len(piece) for piece in pieces if piece is not None)
    return let * FRAME_SECONDS, sum(piece is None for piece in pieces)


def test_it_opens_after_enough_speech_and_keeps_what_came_before() -> None:
    gate = SpeechGate(level)
    sound = signal((0.0, 1.0), (0.9, 1.0))
    pieces = gate.add(sound)
    assert gate.open
    first = pieces[0]
    assert first is not None
    assert len(first) == KEPT
    whole = np.concatenate([piece for piece in pieces if piece is not None])
    assert np.array_equal(whole, sound[-len(whole) :])
    assert len(whole) * FRAME_SECONDS > 1.0


def test_a_click_does_not_open_it() -> None:
    gate = SpeechGate(level)
    click = OPENS_AFTER - 2 * WINDOW / RATE
    assert passed(gate, signal((0.0, 0.5), (0.9, click), (0.0, 0.5), (0.9, click))) == (0, 0)


def test_what_opens_it_is_let_through_before_its_end_however_short_it_is() -> None:
    just = -(-OPENS_AFTER * RATE // WINDOW) * WINDOW / RATE  # the frame's other window is quiet
    *let, end = SpeechGate(level).add(signal((0.9, just), (0.0, 2.0)))
    assert [piece is None for piece in let] == [False] and end is None


def test_a_pause_within_a_sentence_does_not_close_it_and_a_longer_one_does() -> None:
    gate = SpeechGate(level)
    pause = CLOSES_AFTER - 2 * WINDOW / RATE
    assert passed(gate, signal((0.9, 1.0), (0.0, pause), (0.9, 1.0)))[1] == 0
    seconds, ends = passed(gate, signal((0.0, 2.0)))
    assert ends == 1
    assert seconds <= LATE * FRAME_SECONDS  # the pause itself is held back


def test_the_pause_that_ends_an_utterance_is_held_back_and_a_shorter_one_is_not() -> None:
    sound = signal((0.0, 0.52), (0.9, 1.0), (0.0, 0.4), (0.8, 1.0), (0.0, 1.0))
    *pieces, end = SpeechGate(level).add(sound)
    assert end is None
    heard = np.concatenate([piece for piece in pieces if piece is not None])
    first, last = np.flatnonzero(heard.mean(1) > 0.5)[[0, -1]]
    assert last - first + 1 == round(2.4 / FRAME_SECONDS)
    assert len(heard) - 1 - last <= LATE
    assert np.array_equal(heard[first : last + 1], sound[13 : 13 + last - first + 1])


def test_without_waiting_all_is_let_through_but_the_quiet_at_the_end() -> None:
    gate = SpeechGate(level, closes_after=1.5, waits=False)
    assert passed(gate, signal((0.0, 1.0))) == (pytest.approx(1.0), 0)
    assert passed(gate, signal((0.9, 1.0)))[0] == pytest.approx(1.0)
    held, ends = passed(gate, signal((0.0, 1.0)))
    assert held <= LATE * FRAME_SECONDS and ends == 0
    assert held + passed(gate, signal((0.9, 1.0)))[0] == pytest.approx(2.0)
    held, ends = passed(gate, signal((0.0, 2.0)))
    assert held <= LATE * FRAME_SECONDS + (2.0 - 1.5) and ends == 1


def test_with_no_time_to_close_it_stays_open_and_holds_the_quiet() -> None:
    gate = SpeechGate(level, closes_after=float("inf"), waits=False)
    passed(gate, signal((0.9, 1.0)))
    assert passed(gate, signal((0.0, 20.0)))[1] == 0
    assert gate.open


def test_between_the_thresholds_it_stays_as_it_is() -> None:
    gate = SpeechGate(level)
    assert passed(gate, signal((0.4, 2.0))) == (0, 0)
    passed(gate, signal((0.9, 0.5)))
    assert passed(gate, signal((0.4, 2.0)))[1] == 0
    assert gate.open


def test_shut_it_forgets_what_was_said() -> None:
    gate = SpeechGate(level)
    passed(gate, signal((0.9, 1.0)))
    gate.shut()
    assert not gate.open
    first = next(piece for piece in gate.add(signal((0.8, 1.0))) if piece is not None)
    assert np.allclose(first, 0.8)


@pytest.mark.parametrize("name", ["question.wav", "digits.wav", "command.wav"])
def test_a_spoken_sentence_is_one_utterance_and_whole(name: str) -> None:
    speech = open_sound(DEMO / name)
    silence = np.zeros(RATE, np.float32)
    pieces = SpeechGate().add(frames(np.concatenate([silence, speech, silence])))
    assert pieces[-1] is None
    heard = np.concatenate([piece for piece in pieces[:-1] if piece is not None]).ravel()
    loud = np.flatnonzero(np.abs(heard) > 0.05 * np.abs(speech).max())
    spoken = np.flatnonzero(np.abs(speech) > 0.05 * np.abs(speech).max())
    assert loud[-1] - loud[0] == spoken[-1] - spoken[0]


def test_noise_is_no_speech() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    assert SpeechGate().add(frames(noise)) == []
