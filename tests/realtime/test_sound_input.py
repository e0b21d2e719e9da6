from collections.abc import Sequence

import numpy as np
import pytest
import soxr

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.serve.realtime.sound_input import (
    Resampler,
    SoundInput,
    SpeechFrames,
    SpeechStarted,
    SpeechStopped,
    pcm_of,
)
from tests.realtime.talking import gate, quiet, tone

VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 80,
    "silence_duration_ms": 480,
}


def speech(sizes: Sequence[int]) -> tuple[bytes, np.ndarray]:
    pcm = np.random.default_rng(3).integers(-9000, 9000, 30_011).astype("<i2").tobytes()
    resampler, frames, at = Resampler(), [], 0
    for size in sizes:
        frames.append(resampler.add(pcm[at : at + size]))
        at += size
    frames += [resampler.add(pcm[at:]), resampler.end()]
    return pcm, np.concatenate(frames)


@pytest.mark.parametrize("sizes", [[], [1] * 999, [4800] * 9, [1, 3, 20_001, 2, 7]])
def test_the_frames_are_those_of_the_whole_sound_wherever_it_is_cut(sizes: list[int]) -> None:
    pcm, frames = speech(sizes)
    whole = soxr.resample(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768, 24_000, 16_000)
    assert frames.shape == (32, 640)  # 30,011 samples are 20,007 at 16 kHz, and 473 zeros
    assert np.abs(frames.ravel()[: len(whole)] - whole).max() < 1e-3
    assert not frames.ravel()[20_008:].any()


def test_after_its_end_another_sound_has_nothing_of_the_one_before() -> None:
    resampler = Resampler()
    resampler.add(tone(0.33) + b"\x01")
    resampler.end()
    assert not resampler.add(quiet(0.4)).any()


def test_speech_is_placed_on_the_clock_of_what_was_sent() -> None:
    sound = SoundInput(VAD, gate)
    events = list(sound.add(quiet(1) + tone(1.2) + quiet(1)))
    started, stopped = events[0], events[-1]
    assert isinstance(started, SpeechStarted) and isinstance(stopped, SpeechStopped)
    assert 800 <= started.at_ms <= 1000  # speech, less the 80 ms before it, less one frame
    assert 2200 <= stopped.at_ms <= 2280
    frames = sum(len(event.frames) for event in events if isinstance(event, SpeechFrames))
    assert frames == (stopped.at_ms - started.at_ms) / 40


def test_quiet_is_no_speech() -> None:
    assert list(SoundInput(VAD, gate).add(quiet(2))) == []


def test_by_hand_everything_is_heard_and_nothing_starts_or_stops() -> None:
    sound = SoundInput(None, gate)
    events = [*sound.add(quiet(0.5)), *sound.commit()]
    assert all(isinstance(event, SpeechFrames) for event in events)
    assert sum(len(event.frames) for event in events if isinstance(event, SpeechFrames)) == 13


def test_a_longer_padding_keeps_more_of_what_came_before() -> None:
    def start(padding: int) -> int:
        events = SoundInput({**VAD, "prefix_padding_ms": padding}, gate).add(quiet(2) + tone(1))
        return next(event.at_ms for event in events if isinstance(event, SpeechStarted))

    assert start(0) - start(400) == 400


@pytest.mark.parametrize("audio", [None, 7, "no base64!", "Q", "QQ==QQ=="])
def test_what_is_no_base64_is_refused(audio: object) -> None:
    with pytest.raises(Gemma4Error, match="not base64"):
        pcm_of(audio)


@pytest.mark.parametrize("audio", ["-_A=", "-_A", "+/\r\nA= ", "+/A"])
def test_base64_is_taken_as_languages_write_it(audio: str) -> None:
    assert pcm_of(audio) == b"\xfb\xf0"
