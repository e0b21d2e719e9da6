"""Sounds that libsndfile does not know: m4a and others, by PyAV or a Mac's own program."""

import io
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import RATE, read_sound, seconds_of
from tests.unit.stand_ins import stand_in
from tests.unit.test_sound_files import encoded, pitch, tone


def m4a() -> bytes:
    av = pytest.importorskip("av")
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=RATE, layout="stereo")
        samples = np.stack([tone(440, rate=RATE)] * 2).astype(np.float32)
        for at in range(0, samples.shape[1] - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, at : at + 1024]), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = RATE, at
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


def test_m4a_is_read_where_pyav_is_installed() -> None:
    content = m4a()
    sound = read_sound(content)
    assert abs(len(sound.samples) / RATE - 3) < 0.2
    assert abs(pitch(sound.samples) - 440) < 2
    assert abs(seconds_of(content) - 3) < 0.2
    assert abs(len(read_sound(content + content).samples) / RATE - 6) < 0.4


UNKNOWN = b"\0\0\0\x1cftypqt  \0\0\0\0qt  " + bytes(200)


def test_a_mac_reads_it_by_its_own_afconvert(mac: Path, tmp_path: Path) -> None:
    wav = tmp_path / "answer.wav"
    wav.write_bytes(encoded(tone(440, rate=RATE), "wav", RATE))
    stand_in(mac, "afconvert", f'echo "$@" > {tmp_path}/arguments; cp {wav} "$8"')
    sound = read_sound(UNKNOWN)
    assert len(sound.samples) == 3 * RATE and abs(pitch(sound.samples) - 440) < 2
    assert (tmp_path / "arguments").read_text().startswith("-f WAVE -d LEI16@16000 -c 1 /")
    assert not list(tmp_path.glob("gemma4-*"))  # nothing is left
    assert seconds_of(UNKNOWN) == 3


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
    monkeypatch.setattr("mlx_gemma4.media.mac._SECONDS", 0.2)
    with pytest.raises(Gemma4Error, match="did not end within 0.2 s"):
        read_sound(UNKNOWN)


@pytest.mark.usefixtures("without_pyav")
def test_where_ffmpeg_is_installed_it_reads_it(mac: Path, tmp_path: Path) -> None:
    wav = tmp_path / "answer.wav"
    wav.write_bytes(encoded(tone(440), "wav"))
    stand_in(mac, "ffmpeg", f'for last; do :; done; cp {wav} "$last"')
    assert len(read_sound(UNKNOWN).samples) == 3 * RATE


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
