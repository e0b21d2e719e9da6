"""Sounds that libsndfile does not know: m4a and others, by PyAV or a Mac's own program."""

import io
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import RATE, read_sound, seconds_of
from tests.unit.stand_ins import stand_in
from tests.unit.test_sound_files import encoded, pitch, tone


def packed(
    form: str,
    seconds: float = 3.0,
    place: Path | None = None,
    rate: int = RATE,
    hertz: float = 440,
) -> bytes:
    """AAC in a container that FFmpeg knows by this name; with its index first, if at a place."""
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    options = {"movflags": "faststart"} if place else {}
    with av.open(str(place or "") or stream, "w", format=form, options=options) as container:
        track = container.add_stream("aac", rate=rate, layout="stereo")
        samples = np.stack([tone(hertz, seconds, rate)] * 2).astype(np.float32)
        for at in range(0, samples.shape[1] - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, at : at + 1024]), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = rate, at
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return place.read_bytes() if place else stream.getvalue()


def m4a() -> bytes:
    return packed("mp4")


def damaged(content: bytes, share: float, size: int) -> bytes:
    at = int(len(content) * share)
    noise = np.random.default_rng(size).bytes(size)
    return content[:at] + noise + content[at + size :]


def test_m4a_is_read_where_pyav_is_installed() -> None:
    content = m4a()
    sound = read_sound(content)
    assert abs(len(sound.samples) / RATE - 3) < 0.2
    assert abs(pitch(sound.samples) - 440) < 2
    assert abs(seconds_of(content) - 3) < 0.2
    assert abs(len(read_sound(content + content).samples) / RATE - 6) < 0.4


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_aac_that_changes_its_rate_keeps_its_pace(rate: int) -> None:
    sound = read_sound(packed("adts", rate=48_000) + packed("adts", rate=rate, hertz=880))
    assert abs(len(sound.samples) / RATE - 6) < 0.2
    assert abs(pitch(sound.samples[-2 * RATE :]) - 880) < 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    "form, least", [("adts", 5.3), ("mp4", 5.3), ("mpegts", 5.3), ("matroska", 1.9)]
)
def test_what_is_behind_a_damaged_part_is_heard_and_a_note_is_made(
    form: str, least: float, share: float
) -> None:
    sound = read_sound(damaged(packed(form, 6), share, 2500))
    assert least < len(sound.samples) / RATE < 6.2
    (note,) = sound.notes
    there = f"{len(sound.samples) / RATE:.1f} s can be read."
    exact = form in ("mp4", "matroska")
    assert note.endswith(there if exact else "It is damaged: a part of it cannot be read.")


@pytest.mark.parametrize("kind, size", [("mp3", 3000), ("flac", 3000)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_note_on_a_damaged_part_says_what_can_be_read(
    kind: str, size: int, share: float
) -> None:
    pytest.importorskip("av")
    sound = read_sound(damaged(encoded(tone(440, 6, RATE), kind, RATE), share, size))
    seconds = len(sound.samples) / RATE
    assert seconds > 4.9
    assert f"The sound announces 6.0 s, but only {seconds:.1f} s can be read." in sound.notes


@pytest.mark.usefixtures("without_pyav")
def test_what_cannot_be_read_is_not_said_to_be_missing() -> None:
    whole = damaged(encoded(tone(440, 6, RATE), "flac", RATE), 0.5, 3000)
    (note,) = read_sound(whole).notes
    assert note.endswith("2.8 s can be read.")
    (note,) = read_sound(without_length(whole)).notes
    assert note == "It is damaged: a part of it cannot be read."


def without_length(flac: bytes) -> bytes:
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def test_a_flac_of_a_stream_is_read_beyond_a_damaged_part() -> None:
    pytest.importorskip("av")
    flac = without_length(encoded(tone(440, 6, RATE), "flac", RATE))
    sound = read_sound(damaged(flac, 0.5, 3000))
    assert len(sound.samples) / RATE > 5.5
    assert sound.notes == ("It is damaged: a part of it cannot be read.",)


def test_channels_that_cancel_each_other_are_read_beyond_a_damaged_part() -> None:
    pytest.importorskip("av")
    left = tone(440, 6, RATE)
    flac = encoded(np.stack([left, -left], axis=1), "flac", RATE)
    sound = read_sound(damaged(flac, 0.5, 3000))
    assert len(sound.samples) / RATE > 5.5 and np.abs(sound.samples[-RATE:]).max() > 0.3
    assert len(sound.notes) == 2


def test_a_sound_that_is_cut_and_damaged_has_a_note_on_each(tmp_path: Path) -> None:
    whole = packed("mp4", 6, tmp_path / "a.m4a")
    part = whole[: len(whole) * 9 // 10]
    cut, harm = read_sound(damaged(part, 0.5, 300)).notes
    assert "bytes are missing at its end" in cut
    assert harm == "It is damaged: a part of it cannot be read."
    assert len(read_sound(part).notes) == 1


WRITTEN = ("wav", "aiff", "flac", "ogg", "opus", "mp3", "caf", "au", "w64", "rf64")


def sound_of(kind: str) -> bytes:
    if kind in WRITTEN:
        return encoded(tone(440), kind)
    return packed({"m4a": "mp4", "aac": "adts", "mka": "matroska"}[kind])


@pytest.mark.parametrize("first", [*WRITTEN, "m4a", "aac", "mka"])
def test_a_sound_of_another_format_behind_one_is_heard(first: str) -> None:
    for other in ("wav", "flac", "mp3", "opus", "m4a", "mka"):
        content = sound_of(first) + sound_of(other)
        sound = read_sound(content)
        assert (abs(len(sound.samples) / RATE - 6) < 0.3, sound.notes) == (True, ()), other
        assert abs(seconds_of(content) - 6) < 0.3


@pytest.mark.parametrize("kind", [*WRITTEN, "m4a", "aac"])
def test_what_is_no_sound_behind_one_is_noted_and_tags_are_not(kind: str) -> None:
    content = sound_of(kind)
    for junk in (b"hello " * 15_000, np.random.default_rng(0).bytes(90_000)):
        assert read_sound(content + junk).notes == ("90,000 bytes after its end are not used.",)
    size = (30_000).to_bytes(4, "little")
    ape = b"APETAGEX\xd0\7\0\0" + size + bytes(29_984) + b"APETAGEX\xd0\7\0\0" + size + bytes(16)
    lyrics = b"LYRICSBEGIN" + b"y" * 9_000 + b"009011LYRICS200"
    for tag in (ape, lyrics, b"ID3\4\0\0\0\0\x50\0" + bytes(10_240)):
        sound = read_sound(content + tag + b"TAG" + b"x" * 125)
        assert (abs(len(sound.samples) / RATE - 3) < 0.2, sound.notes) == (True, ())


def test_a_sound_behind_one_that_cannot_be_read_is_noted() -> None:
    content = sound_of("mp3") + b"RIFF\x10\x27\0\0WEBP" + bytes(9_996)
    assert read_sound(content).notes == ("10,008 bytes of it cannot be read.",)


def test_a_long_mp3_that_counts_its_frames_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(*_: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr("mlx_gemma4.media.sound_pieces._search", searched)
    assert len(read_sound(sound_of("mp3") + sound_of("wav")).samples) > 5.8 * RATE


UNKNOWN = b"\0\0\0\x1cftypqt  \0\0\0\0qt  " + bytes(200)


def test_a_mac_reads_it_by_its_own_afconvert(mac: Path, tmp_path: Path) -> None:
    wav = tmp_path / "answer.wav"
    right = tone(440, rate=RATE)
    wav.write_bytes(encoded(np.stack([0 * right, right], axis=1), "wav", RATE))
    stand_in(mac, "afconvert", f'echo "$@" > {tmp_path}/arguments; cp {wav} "$6"')
    sound = read_sound(UNKNOWN)
    assert len(sound.samples) == 3 * RATE and abs(pitch(sound.samples) - 440) < 2
    # with -c 1 it would drop the right channel
    assert (tmp_path / "arguments").read_text().startswith("-f WAVE -d LEI16@16000 /")
    assert not list(tmp_path.glob("gemma4-*"))  # nothing is left
    assert seconds_of(UNKNOWN) == 3


def test_a_mac_too_reads_by_pyav_which_reports_damage(mac: Path) -> None:
    stand_in(mac, "afconvert", "exit 1")
    content = packed("mp4", 6)
    assert read_sound(content).notes == ()
    assert len(read_sound(damaged(content, 0.5, 2500)).notes) == 1


@pytest.mark.parametrize(
    "script, words", [("echo no such codec >&2; exit 1", "no such codec"), ("true", "ended with 0")]
)
def test_what_afconvert_cannot_open_is_named(
    mac: Path, tmp_path: Path, script: str, words: str
) -> None:
    stand_in(mac, "afconvert", script)
    path = tmp_path / "memo.qta"
    path.write_bytes(UNKNOWN)
    with pytest.raises(Gemma4Error, match=f"memo.qta cannot be read: afconvert .*{words}"):
        read_sound(path)
    assert not list(tmp_path.glob("gemma4-*"))


def test_a_program_that_does_not_end_is_ended(mac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(mac, "afconvert", "exec sleep 60")
    monkeypatch.setattr("mlx_gemma4.media.programs._SECONDS", 0.2)
    with pytest.raises(Gemma4Error, match="did not end within 0.2 s"):
        read_sound(UNKNOWN)


@pytest.mark.usefixtures("without_pyav")
def test_where_ffmpeg_is_installed_it_reads_it(mac: Path, tmp_path: Path) -> None:
    wav = tmp_path / "answer.wav"
    wav.write_bytes(encoded(tone(440), "wav"))
    stand_in(mac, "ffmpeg", f'for last; do :; done; cp {wav} "$last"')
    sound = read_sound(UNKNOWN)
    assert len(sound.samples) == 3 * RATE and sound.notes == ()
    stand_in(mac, "ffmpeg", f'echo Invalid data >&2; for last; do :; done; cp {wav} "$last"')
    assert read_sound(UNKNOWN).notes == ("It is damaged: a part of it cannot be read.",)


@pytest.mark.usefixtures("without_pyav")
def test_elsewhere_the_command_is_named_that_helps(mac: Path) -> None:
    with pytest.raises(Gemma4Error) as caught:
        read_sound(UNKNOWN)
    assert "`python -m pip install av`" in caught.value.remedy


def test_a_playlist_leads_to_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encoded(tone(440), "wav"))
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
    ):
        (tmp_path / "list.m4a").write_text(text)
        with pytest.raises(Gemma4Error):
            read_sound(tmp_path / "list.m4a")
