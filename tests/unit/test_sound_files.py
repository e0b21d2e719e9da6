"""Sound files that are joined, cut, of unknown length, or in formats of other programs."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_gemma4 import limits
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media import mpeg
from mlx_gemma4.media.audio import RATE, read_sound, seconds_of, to_mono16k

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
}


def tone(hertz: float, seconds: float = 3.0, rate: int = 48_000) -> np.ndarray:
    noise = np.random.default_rng(int(hertz)).normal(0, 0.01, int(rate * seconds))
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate) + noise


def encoded(samples: np.ndarray, kind: str, rate: int = 48_000) -> bytes:
    stream = io.BytesIO()
    name, subtype = KINDS[kind]
    soundfile.write(stream, samples, rate, format=name, subtype=subtype)
    return stream.getvalue()


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in hertz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(power) * RATE / len(samples))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rates", [(48_000, 48_000), (48_000, 24_000)])
def test_files_that_were_joined_are_read_to_the_end(kind: str, rates: tuple[int, int]) -> None:
    parts = [(440, 3.0, rates[0]), (880, 2.0, rates[1]), (660, 3.0, rates[0])]
    sound = read_sound(b"".join(encoded(tone(*part), kind, part[2]) for part in parts))
    assert abs(len(sound.samples) / RATE - 8) < 0.2
    assert abs(pitch(sound.samples[: 2 * RATE]) - 440) < 2
    assert abs(pitch(sound.samples[int(3.5 * RATE) : int(4.5 * RATE)]) - 880) < 2
    assert abs(pitch(sound.samples[-2 * RATE :]) - 660) < 2
    assert sound.notes == ()


def test_mp3_frames_that_follow_the_counted_ones_are_read() -> None:
    one, two = (encoded(tone(hertz), "mp3") for hertz in (440, 880))
    start = 1440  # without the frame that counts the others, and the softer ones after it
    assert two[start : start + 2] == two[:2] == b"\xff\xfb"
    sound = read_sound(one + two[start:])
    assert abs(len(sound.samples) / RATE - 6) < 0.2
    assert abs(pitch(sound.samples[-2 * RATE :]) - 880) < 2


def test_what_follows_a_wav_file_is_accounted_for() -> None:
    sound = read_sound(encoded(tone(440), "wav") + b"x" * 10_000)
    assert abs(len(sound.samples) - 3 * RATE) < 2
    assert sound.notes == ("10,000 bytes after its end are not used.",)


@pytest.mark.parametrize("share", [0.03, 0.3])
def test_an_ogg_that_is_cut_before_its_first_sound_is_called_cut(share: float) -> None:
    whole = encoded(tone(440, 1.5, RATE), "ogg", RATE)
    with pytest.raises(Gemma4Error, match=r"It is cut off: its end is missing\."):
        read_sound(whole[: int(len(whole) * share)])


@pytest.mark.usefixtures("without_pyav")
def test_a_flac_that_is_cut_is_read_to_its_last_whole_frame() -> None:
    whole = encoded(tone(440), "flac")
    sound = read_sound(whole[: len(whole) * 9 // 10])
    assert 2.6 < len(sound.samples) / RATE < 2.7
    assert sound.notes == (
        f"The sound announces 3.0 s, but only {len(sound.samples) / RATE:.1f} s are there.",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_of_a_file_that_is_cut_all_that_decodes_is_used_and_a_note_is_made(
    kind: str, share: float
) -> None:
    whole = encoded(tone(440, 6), kind)
    sound = read_sound(whole[: int(len(whole) * share)])
    assert share * 6 - 1.2 < len(sound.samples) / RATE < share * 6 + 0.5
    assert abs(pitch(sound.samples[RATE : 2 * RATE]) - 440) < 2
    assert len(sound.notes) == 1


def test_a_flac_that_is_damaged_in_the_middle_is_read_beyond_it() -> None:
    pytest.importorskip("av")
    data = bytearray(encoded(tone(440, 6), "flac"))
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    sound = read_sound(bytes(data))
    assert len(sound.samples) / RATE > 5.7
    assert len(sound.notes) == 1


@pytest.mark.parametrize(
    "kind, number",
    [("w64", 0), ("w64", 24), ("w64", 2**64 - 1)]
    + [("rf64", 0), ("rf64", 2**64 - 1)]
    + [("caf", 0), ("caf", 4), ("caf", 2**64 - 1)]
    + [("au", 0), ("au", 2**32 - 1)],
)
def test_a_long_format_of_a_stream_is_read_to_its_end(kind: str, number: int) -> None:
    content = bytearray(encoded(tone(440), kind))
    data = content.find(b"data")
    places = {"w64": (16, data + 16), "rf64": (20, 28), "caf": (data + 4,), "au": (8,)}[kind]
    for place in places:
        width, order = (4 if kind == "au" else 8), ("big" if kind in ("caf", "au") else "little")
        content[place : place + width] = number.to_bytes(width, order)
    sound = read_sound(bytes(content))
    assert abs(len(sound.samples) - 3 * RATE) < 4 and abs(pitch(sound.samples) - 440) < 2
    assert sound.notes == ()
    assert abs(seconds_of(bytes(content)) - 3) < 0.01


@pytest.mark.parametrize(
    "riff, data", [(0, 0), (36, 0), (0x7FFFFFFF, 0x7FFFFFDB), (2**32 - 1, 2**32 - 1)]
)
def test_a_wav_of_a_stream_or_a_killed_recorder_is_read_to_its_end(riff: int, data: int) -> None:
    content = bytearray(encoded(tone(440), "wav"))
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, 40, data)
    sound = read_sound(bytes(content))
    assert abs(len(sound.samples) - 3 * RATE) < 2
    assert abs(pitch(sound.samples) - 440) < 2
    assert sound.notes == ()


def test_an_aiff_and_a_flac_of_a_stream_are_read_to_their_end() -> None:
    aiff = bytearray(encoded(tone(440), "aiff"))
    aiff[4:8] = aiff[22:26] = bytes(4)
    at = aiff.index(b"SSND") + 4
    aiff[at : at + 4] = bytes(4)
    flac = bytearray(encoded(tone(440), "flac"))
    flac[21] &= 0xF0  # the number of samples, 36 bits of STREAMINFO
    flac[22:26] = bytes(4)
    for content in (aiff, flac):
        sound = read_sound(bytes(content))
        assert abs(len(sound.samples) - 3 * RATE) < 100
        assert sound.notes == ()


@pytest.mark.parametrize("gain", [1.0, 0.95, 1.12])
def test_channels_that_cancel_each_other_are_not_mixed(gain: float) -> None:
    left = tone(440, rate=RATE)
    both = np.stack([left, -gain * left], axis=1)
    sound = read_sound(encoded(both, "wav", RATE))
    assert np.corrcoef(sound.samples, left)[0, 1] > 0.999
    assert np.abs(sound.samples).max() > 0.3
    assert sound.notes == ("Its channels cancel each other out: only channel 1 is used.",)
    assert np.corrcoef(to_mono16k(both.astype(np.float32), RATE), left)[0, 1] > 0.999


def test_channels_that_cancel_each_other_in_a_part_are_not_mixed_there() -> None:
    left = tone(440, rate=RATE)
    both = np.concatenate([np.stack([left, -left], axis=1), np.stack([left, left], axis=1)])
    sound = read_sound(encoded(both, "wav", RATE))
    assert np.corrcoef(sound.samples, both[:, 0])[0, 1] > 0.99
    note = "Its channels cancel each other out in a part of it: only channel 1 is used there."
    assert sound.notes == (note,)
    assert np.corrcoef(to_mono16k(both.astype(np.float32), RATE), both[:, 0])[0, 1] > 0.99


def test_where_channels_start_to_cancel_nothing_clicks() -> None:
    low = tone(50, rate=RATE) / 4
    both = np.stack([low, -low], axis=1)
    both[: len(low) // 2] += tone(440, rate=RATE)[: len(low) // 2, None] / 4
    steps = np.abs(np.diff(to_mono16k(both.astype(np.float32), RATE)))
    assert steps.max() < 0.1


@pytest.mark.parametrize("other", ["silence", "another tone", "the same"])
def test_channels_that_do_not_cancel_are_mixed(other: str) -> None:
    left = tone(440, rate=RATE)
    right = {"silence": 0 * left, "another tone": tone(660, rate=RATE), "the same": left}[other]
    sound = read_sound(encoded(np.stack([left, right], axis=1), "wav", RATE))
    assert np.allclose(sound.samples, (left + right) / 2, atol=1e-4)
    assert sound.notes == ()


def test_a_click_does_not_make_all_else_quiet(tmp_path: Path) -> None:
    samples = tone(440, rate=RATE).astype(np.float32)
    samples[1000] = 30.0
    path = tmp_path / "click.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    sound = read_sound(path)
    assert sound.samples[1000] == 1
    assert np.array_equal(np.delete(sound.samples, 1000), np.delete(samples, 1000))
    assert sound.notes == ("Samples up to 30 were clipped to 1.",)
    assert np.array_equal(to_mono16k(samples, RATE), sound.samples)


@pytest.mark.parametrize("value", [30, -1e30, 3e38])
@pytest.mark.parametrize("channels", ["one", "two", "two that cancel each other"])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_click_is_not_spread_by_resampling_and_hides_no_cancelled_channels(
    rate: int, channels: str, value: float
) -> None:
    clean = tone(440, rate=rate).astype(np.float32)
    samples = clean.copy()
    samples[1000] = value
    other = {"one": [], "two": [samples], "two that cancel each other": [-samples]}[channels]
    several = np.stack([samples, *other], axis=1)
    content = io.BytesIO()
    soundfile.write(content, several, rate, "FLOAT", format="WAV")
    sound = read_sound(content)
    assert any(f"Samples up to {abs(value):.3g} were clipped" in note for note in sound.notes)
    assert np.sqrt(np.mean((sound.samples - to_mono16k(clean, rate)) ** 2)) < 0.01
    assert np.sqrt(np.mean((to_mono16k(several, rate) - to_mono16k(clean, rate)) ** 2)) < 0.01


def test_a_sound_that_is_too_loud_as_a_whole_is_scaled_and_it_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, tone(440, rate=RATE) * 1000, RATE, subtype="FLOAT")
    sound = read_sound(path)
    assert np.abs(sound.samples).max() == 1
    assert np.corrcoef(sound.samples, tone(440, rate=RATE))[0, 1] > 0.999
    assert "times too loud" in sound.notes[0]


def test_a_sound_may_be_a_path_its_bytes_or_an_open_file(tmp_path: Path) -> None:
    content = encoded(tone(440), "wav")
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    expected = read_sound(path).samples
    with path.open("rb") as file:
        for source in (str(path), content, bytearray(content), io.BytesIO(content), file):
            assert np.array_equal(read_sound(source).samples, expected)
        assert not file.closed
    assert seconds_of(content) == 3


@pytest.mark.parametrize("source", [None, 7, ["a.wav"], io.StringIO("x"), b"", b"nothing known"])
def test_what_is_no_sound_at_all_is_an_error(source: object) -> None:
    with pytest.raises(Gemma4Error) as caught:
        read_sound(source)  # type: ignore[arg-type]
    assert caught.value.code == "sound_unreadable" and caught.value.remedy


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(tone(440), "wav"))

    def denied(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(Gemma4Error, match=r"a\.wav: Permission denied"):
        read_sound(path)


def test_a_sound_at_a_high_rate_is_never_whole_in_memory() -> None:
    """5 minutes at 192 kHz are 230 MB of numbers, and 19 MB at 16 kHz."""
    content = encoded(np.zeros(300 * 192_000, np.int16), "flac", 192_000)
    assert len(content) < 400_000
    script = (
        "import sys, resource, soundfile, soxr, numpy; "
        "from mlx_gemma4.media.audio import read_sound; content = sys.stdin.buffer.read(); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "n = len(read_sound(content).samples); "
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=content, capture_output=True, check=True
    )
    samples, kilobytes = map(int, done.stdout.split())
    assert samples == 300 * RATE
    assert kilobytes < 120_000 * (1 if sys.platform == "linux" else 1024)


def test_a_sound_that_does_not_say_how_long_it_is_is_bounded_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SOUND_SECONDS", 2)
    content = bytearray(encoded(tone(440), "wav"))
    content[40:44] = content[4:8] = b"\xff" * 4
    with pytest.raises(Gemma4Error, match="lasts more than 0 minutes"):
        read_sound(bytes(content))


def test_joined_sounds_that_announce_no_length_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = bytearray(encoded(tone(440), "flac"))
    content[21] &= 0xF0  # STREAMINFO's number of samples, as a program writes it into a pipe
    content[22:26] = bytes(4)
    assert seconds_of(bytes(content) * 3) == pytest.approx(9, abs=0.01)
    monkeypatch.setattr(limits, "SOUND_SECONDS", 8)
    assert len(read_sound(bytes(content) * 2).samples) > 5.9 * RATE
    for read in (read_sound, seconds_of):
        with pytest.raises(Gemma4Error, match="lasts more than 0 minutes"):
            read(bytes(content) * 3)


# what other machines bring


def streamed(hertz: float, seconds: float, rate: int = 44_100, channels: int = 1) -> bytes:
    """An MP3 of variable bit rate as a program writes it into a pipe: nothing counts its frames."""
    samples = tone(hertz, seconds, rate) * np.linspace(0.001, 1, int(rate * seconds))
    stream = io.BytesIO()
    sound = np.repeat(samples[:, None], channels, 1)
    soundfile.write(
        stream, sound, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.6
    )
    data = stream.getvalue()
    counting = mpeg.header(data[:4])
    assert counting and b"Xing" in data[: counting.size]
    return data[counting.size :]


TAG = b"ID3\x04\0\0" + bytes([0, 0, 80, 0]) + b"\xff\xfb\x90\x64" * 2560


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_does_not_count_its_frames_is_read_to_its_end(rate: int, channels: int) -> None:
    sound = read_sound(streamed(440, 4, rate, channels))
    assert 4 <= len(sound.samples) / RATE < 4.4
    assert abs(pitch(sound.samples[-RATE:]) - 440) < 2
    assert sound.notes == ()


def test_mp3s_that_count_their_frames_and_others_are_joined_in_any_order() -> None:
    counted, other = encoded(tone(880), "mp3"), streamed(440, 3)
    for parts in ((counted, other), (other, counted), (other, other), (TAG + other, TAG + other)):
        sound = read_sound(b"".join(parts))
        assert 6 <= len(sound.samples) / RATE < 6.5
        assert sound.notes == ()


def test_an_mp3_that_is_cut_in_a_frame_or_damaged_is_noted_or_read_beyond() -> None:
    whole = streamed(440, 4)
    (note,) = read_sound(whole[: len(whole) * 3 // 4 + 1]).notes
    assert "cut off" in note
    damaged = whole[:5000] + bytes(700) + whole[5700:]
    assert len(read_sound(damaged).samples) / RATE > 3.5


@pytest.mark.parametrize("length", [2**62, 2**63 - 1])
@pytest.mark.parametrize("chunk", [b"desc", b"free", b"data"])
def test_a_size_beyond_any_file_is_noted_or_an_error(
    tmp_path: Path, chunk: bytes, length: int
) -> None:
    content = bytearray(encoded(tone(440), "caf"))
    at = content.index(chunk) + 4
    content[at : at + 8] = length.to_bytes(8, "big")
    (tmp_path / "a.caf").write_bytes(content)
    for source in (tmp_path / "a.caf", bytes(content)):
        try:
            assert read_sound(source).notes
        except Gemma4Error as error:
            assert error.code == "sound_unreadable"
