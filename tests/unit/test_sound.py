import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import RATE, clips, frames, open_sound, read_sound, to_mono16k

CASES = np.load(Path(__file__).parents[1] / "fixtures" / "processor_cases.npz")


def tone(rate: int = RATE, seconds: float = 1.0, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype("f4")


def encoded(samples: np.ndarray, rate: int, kind: str, subtype: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of what both have, 0.1 s after the start and before the end."""
    common = slice(1600, min(len(a), len(b)) - 1600)
    return float(np.corrcoef(a[common], b[common])[0, 1])


def test_frames_equal_those_of_transformers() -> None:
    assert np.array_equal(frames(CASES["sound"]), CASES["frames"])


@pytest.mark.parametrize("samples, rows", [(1, 1), (639, 1), (640, 1), (641, 2), (16000, 25)])
def test_the_last_frame_is_padded_with_zeros(samples: int, rows: int) -> None:
    made = frames(np.ones(samples, np.float32))
    assert made.shape == (rows, 640)
    assert made.dtype == np.float32
    assert made.sum() == samples


@pytest.mark.parametrize(
    "samples, expected",
    [
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-128, 0, 64], np.int8), [-1, 0, 0.5]),
        (np.array([-1, 0, 0.5], np.float64), [-1, 0, 0.5]),
    ],
)
def test_integers_are_scaled_by_their_type(samples: np.ndarray, expected: list[float]) -> None:
    assert to_mono16k(samples, RATE).tolist() == expected


def test_stereo_is_mixed_down_whichever_way_it_lies() -> None:
    left, right = tone(hertz=300), tone(hertz=500)
    mixed = (left + right) / 2
    assert np.allclose(to_mono16k(np.stack([left, right]), RATE), mixed, atol=1e-6)
    assert np.allclose(to_mono16k(np.stack([left, right], axis=1), RATE), mixed, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_any_rate_becomes_16_khz(rate: int) -> None:
    made = to_mono16k(tone(rate), rate)
    assert abs(len(made) - RATE) <= 1
    assert agreement(made, tone()) > 0.999


def test_sound_beyond_full_scale_is_scaled_down_not_clipped() -> None:
    made = to_mono16k(tone() * 8, RATE)
    assert np.abs(made).max() == 1
    assert agreement(made, tone()) > 0.99999


def test_silence_is_sound() -> None:
    assert frames(np.zeros(700, np.int16)).tolist() == np.zeros((2, 640)).tolist()


@pytest.mark.parametrize(
    "samples, rate",
    [
        (np.zeros(0, np.float32), RATE),
        (np.array([0, np.nan], np.float32), RATE),
        (np.array([0, np.inf], np.float32), 48_000),
        (np.zeros((2, 2, 2), np.float32), RATE),
        (np.zeros(9, np.complex64), RATE),
        (np.zeros(9, np.float32), 0),
        (np.zeros(9, np.float32), 10_000_000),
        (np.zeros(1, np.float32), 768_000),
    ],
)
def test_what_is_no_sound_is_an_error(samples: np.ndarray, rate: int) -> None:
    with pytest.raises(Gemma4Error) as caught:
        to_mono16k(samples, rate)
    assert caught.value.title and caught.value.cause and caught.value.remedy


@pytest.mark.parametrize(
    "kind, subtype, rate",
    [
        ("WAV", "PCM_U8", 8_000),
        ("WAV", "PCM_16", 16_000),
        ("WAV", "PCM_24", 48_000),
        ("WAV", "FLOAT", 44_100),
        ("FLAC", "PCM_16", 22_050),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_every_kind_are_read(
    tmp_path: Path, kind: str, subtype: str, rate: int, channels: int
) -> None:
    sound = np.repeat(tone(rate)[:, None], channels, axis=1)
    path = tmp_path / "sound.bin"  # the format is found from the content
    path.write_bytes(encoded(sound, rate, kind, subtype))
    made = read_sound(path)
    assert abs(len(made.samples) - RATE) <= 2
    assert agreement(made.samples, tone()) > 0.99
    assert made.notes == ()


@pytest.mark.parametrize("kind, subtype", [("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")])
def test_of_a_file_cut_in_the_middle_the_rest_is_used_and_told(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    noise = tone(seconds=9) + np.random.default_rng(0).normal(0, 0.01, 9 * RATE)
    whole = encoded(noise, RATE, kind, subtype)
    path = tmp_path / "cut"
    path.write_bytes(whole[: len(whole) // 2])
    made = read_sound(path)
    assert 2 * RATE < len(made.samples) < 6 * RATE
    assert agreement(made.samples, noise) > 0.9
    assert made.notes[0].startswith("cut announces 9.0 s, but only")


@pytest.mark.parametrize(
    "content",
    [b"", b"this is no sound", b"RIFF", encoded(np.zeros(0, np.float32), RATE, "WAV", "PCM_16")],
)
def test_a_bad_file_is_an_error_that_says_why(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(Gemma4Error) as caught:
        open_sound(path)
    assert caught.value.title == "The sound bad.wav cannot be read"
    assert caught.value.cause and caught.value.remedy


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Gemma4Error, match="There is no file"):
        open_sound(tmp_path / "nowhere.wav")


def test_more_than_an_hour_is_an_error_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    path.write_bytes(encoded(np.zeros(1000 * 3700, np.float32), 1000, "FLAC", "PCM_16"))
    with pytest.raises(Gemma4Error, match="62 minutes"):
        open_sound(path)


def test_a_clip_up_to_the_limit_is_left_alone() -> None:
    sound = np.zeros(30 * RATE, np.float32)
    assert [len(clip) for clip in clips(sound)] == [30 * RATE]


def test_a_longer_clip_is_refused_and_the_choice_is_named() -> None:
    with pytest.raises(Gemma4Error, match="40.0 s.*30 s.*split"):
        clips(np.zeros(40 * RATE, np.float32))


def test_a_split_falls_into_the_pause() -> None:
    sound = np.concatenate([tone(seconds=20), np.zeros(RATE, np.float32), tone(seconds=19)])
    first, second = clips(sound, long="split")
    assert 20 * RATE < len(first) < 21 * RATE
    assert np.array_equal(np.concatenate([first, second]), sound)


@settings(deadline=None)
@given(st.integers(1, 200_000), st.floats(0.5, 3), st.integers(0, 2**32 - 1))
def test_a_split_loses_nothing_and_keeps_the_limit(n: int, limit: float, seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)
    made = clips(sound, limit, long="split")
    assert np.array_equal(np.concatenate(made), sound)
    assert all(0 < len(clip) <= limit * RATE for clip in made)
    assert all(len(clip) % 640 == 0 for clip in made[:-1])


def test_a_wav_file_that_was_cut_off_says_so(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.wav", tmp_path / "cut.wav"
    soundfile.write(whole, np.zeros(16_000, np.float32), 16_000, subtype="PCM_16")
    cut.write_bytes(whole.read_bytes()[:-10_000])
    assert read_sound(whole).notes == ()
    recording = read_sound(cut)
    assert len(recording.samples) == 11_000
    assert "10,000 bytes are missing" in recording.notes[0]
