"""Noise, rooms, two voices, and recordings: each is what its name promises."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.question import Asked, Choice
from mlx_gemma4.evaluate.sounds import mixing, recordings
from mlx_gemma4.evaluate.speech import QUESTION
from mlx_gemma4.media.audio import RATE
from tests.evaluate.test_speech import Listener

ESPEAK = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def tone(seconds: float = 1.0) -> np.ndarray:
    """A tone, after as much silence."""
    time = np.arange(round(seconds * RATE)) / RATE
    return np.concatenate([0 * time, np.sin(2 * np.pi * 440 * time)]).astype(np.float32)


@pytest.mark.parametrize("snr", [20, 10, 0, -5])
def test_noise_is_as_far_below_the_speech_as_was_asked(snr: int) -> None:
    speech = tone()
    noise = mixing.white(len(speech), np.random.default_rng(1))
    mixed = mixing.mix(speech, noise, snr)
    gains, *_ = np.linalg.lstsq(np.stack([speech, noise], 1), mixed, rcond=None)
    spoken, other = (gains[0] * speech)[RATE:], gains[1] * noise
    found = 10 * np.log10(np.square(spoken).mean() / np.square(other).mean())
    assert found == pytest.approx(snr, abs=0.2)
    assert np.abs(mixed).max() == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("rt60", [0.3, 1.0])
def test_a_room_fades_by_sixty_decibels_in_its_reverberation_time(rt60: float) -> None:
    clap = np.zeros(RATE // 10, np.float32)
    clap[0] = 1
    heard = mixing.reverberant(clap, rt60, np.random.default_rng(2))
    # backward integration (M. R. Schroeder, 1965, https://doi.org/10.1121/1.1909343)
    tail = np.cumsum(np.square(heard[1:], dtype=np.float64)[::-1])[::-1]
    level = 10 * np.log10(tail / tail[0])
    fall = np.argmax(level < -25) - np.argmax(level < -5)  # 20 dB of it, as ISO 3382 does
    assert 3 * fall / RATE == pytest.approx(rt60, rel=0.15)
    direct, walls = float(heard[0]) ** 2, float(tail[0])
    assert direct / walls == pytest.approx(1, rel=0.05)


def test_hum_is_of_fifty_hertz_and_what_is_above_it() -> None:
    loud = np.abs(np.fft.rfft(mixing.hum(RATE, np.random.default_rng(0))))
    assert set(np.argsort(loud)[-6:]) == {50, 100, 150, 200, 250, 300}
    assert np.argmax(loud) == 50


@ESPEAK
def test_a_babble_is_six_people_without_a_pause() -> None:
    crowd = mixing.babble(4 * RATE, 7)
    blocks = np.square(crowd).reshape(-1, RATE // 4).mean(axis=1)
    assert blocks.min() > 0.1 * blocks.max()
    alone = mixing.say(mixing.spoken(7, 1)[0])[: 2 * RATE].reshape(-1, RATE // 50)
    loudness = np.square(alone).mean(axis=1)
    assert loudness.min() < 0.001 * loudness.max()


@ESPEAK
def test_pace_and_overlap_change_how_long_it_takes() -> None:
    one, other = mixing.spoken(1, 2)
    slow, fast = (len(mixing.say(one.at(speed))) for speed in (0.75, 1.5))
    assert slow / fast == pytest.approx(2, rel=0.2)
    first, second = len(mixing.say(one)), len(mixing.say(other))
    lengths = [len(mixing.together(one, other, share)) for share in (0.0, 0.5, 1.0)]
    assert lengths[0] == pytest.approx(first + second, rel=0.02)
    assert lengths[1] == pytest.approx(first + second - min(first, second) / 2, rel=0.03)
    assert lengths[2] == pytest.approx(max(first, second), rel=0.05)


@ESPEAK
def test_every_language_has_its_sentences_and_a_voice() -> None:
    for language in ("en", *mixing.LANGUAGES):
        said = mixing.spoken(3, 100, language)
        assert len({one.text for one in said}) == len(said) >= 12
        assert len(mixing.say(said[0])) > RATE
    small = mixing.small_world(3, 40)
    assert sum(one.text.isdigit() for one in small) == 20


def test_own_recordings_are_read_with_their_texts_and_languages(tmp_path: Path) -> None:
    texts = {"a": "Hello there.", "b": "Guten Tag.", "c": ""}
    for name in texts:
        soundfile.write(tmp_path / f"{name}.wav", tone(0.2), RATE)
    (tmp_path / "a.txt").write_text("Hello there.\n", encoding="utf-8")
    (tmp_path / "b.de.txt").write_text("Guten Tag.", encoding="utf-8")
    (tmp_path / "c.txt").touch()
    libri = tmp_path / "84" / "121123"
    libri.mkdir(parents=True)
    soundfile.write(libri / "84-121123-0000.flac", tone(0.2), RATE)
    (libri / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n", "utf-8")
    (tmp_path / ".Trashes").mkdir()
    for name in ("._a.wav", "._a.txt", ".Trashes/old.wav"):  # what macOS leaves on other disks
        (tmp_path / name).write_bytes(b"\xff\xfe\xfd")
    choice = Choice(folder=tmp_path, work=tmp_path / "work")
    listener = Listener("it")
    rows = [(i, QUESTION.measure(listener, i)) for i in QUESTION.items(choice, listener)]
    assert [a.wanted for a in listener.heard] == [
        "GO DO YOU HEAR", "Hello there.", "Guten Tag.", "",
    ]  # fmt: skip
    assert [item.facts["language"] for item, _ in rows] == ["en", "en", "de", "en"]
    assert rows[0][1]["exact"] and rows[3][1]["invented"] == 0
    assert len(QUESTION.items(Choice(limit=2, folder=tmp_path), listener)) == 2


def test_texts_are_found_as_other_programs_leave_them(tmp_path: Path) -> None:
    for name in ("a.wav", "talk.de.wav", "7-1.flac"):
        soundfile.write(tmp_path / name, tone(), RATE)
    (tmp_path / "a.txt").write_text("Hello there.", "utf-8-sig")  # as Notepad saves it
    (tmp_path / "talk.de.txt").write_text("Guten Tag.")
    (tmp_path / "7-1.trans.txt").write_text("7-1 GO\n\n \n")
    for folder in ("old.wav", "notes.txt"):
        (tmp_path / folder).mkdir()
    found = {one.id: (one.text, one.language) for one in recordings.own(tmp_path)}
    assert found == {
        "a.wav": ("Hello there.", "en"),
        "talk.de.wav": ("Guten Tag.", "de"),
        "7-1.flac": ("GO", "en"),
    }


def test_a_recording_that_was_replaced_is_another_item(tmp_path: Path) -> None:
    def named() -> str:
        (item,) = QUESTION.items(Choice(folder=tmp_path), Listener("it"))
        return item.id

    names = []
    for seconds, text in ((0.2, "Hello."), (0.3, "Hello."), (0.3, "Good day."), (0.3, "Good day.")):
        soundfile.write(tmp_path / "a.wav", tone(seconds), RATE)
        (tmp_path / "a.txt").write_text(text)
        names.append(named())
    assert len(set(names[:3])) == 3 and names[3] == names[2]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "The folder has no recordings"),
        (("a.wav",), "Beside .*a.wav is no a.txt"),
        (("a.wav", "a.txt"), "not UTF-8"),
    ],
)
def test_a_folder_that_is_not_usable_says_why(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(Gemma4Error, match=message):
        QUESTION.items(Choice(folder=tmp_path), Listener("it"))


def test_the_set_folder_needs_a_folder() -> None:
    with pytest.raises(Gemma4Error, match="--folder"):
        QUESTION.items(Choice(sets=("folder",)), Listener("it"))


def test_packages_of_human_speech_are_read_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    av = pytest.importorskip("av", reason="the video extra is not installed")
    monkeypatch.setattr(recordings, "ASTERISK", tmp_path)
    monkeypatch.setattr(recordings, "ASTERISK_WORDS", tmp_path / "words.gz")
    monkeypatch.setattr(recordings, "SPHINX", tmp_path)
    with pytest.raises(Gemma4Error, match="asterisk-core-sounds-en-g722"):
        recordings.human(1, 5)
    lines = [
        "; prompts",
        "beep: [a beep of some kind]",
        "two: Thank you.",
        "six: (six seconds of silence)",
        "all: All is well now.",
    ]
    (tmp_path / "words.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("beep", "two", "six", "all"):
        with av.open(str(tmp_path / f"{name}.g722"), "w", format="g722") as file:
            stream = file.add_stream("g722", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                (tone() * 20_000).astype(np.int16)[None], "s16", "mono"
            )
            frame.sample_rate = RATE
            for packet in (*stream.encode(frame), *stream.encode(None)):
                file.mux(packet)
    (tmp_path / "librivox").mkdir()
    (tmp_path / "librivox" / "transcription").write_text("<s> he was a man </s> (book_01-0870)\n")
    soundfile.write(tmp_path / "librivox" / "book_01-0870.wav", tone(), RATE)
    found = recordings.human(1, 5)
    assert [(one.source, one.text) for one in found] == [
        ("asterisk", "All is well now."),
        ("librivox", "he was a man"),
    ]
    for one in found:
        samples = one.read()
        assert len(samples) == pytest.approx(2 * RATE, abs=800)
        half = len(samples) // 2
        assert np.abs(samples[:half]).max() < 0.1 < np.abs(samples[half:]).max()


def test_silence_is_silent_and_noise_is_not(tmp_path: Path) -> None:
    items = QUESTION.items(Choice(limit=1, sets=("silence",), work=tmp_path), Listener("it"))
    loudness = {}
    for item in items:
        assert item.make is not None
        asked: Asked = item.make()
        assert asked.wanted == ""
        assert len(asked.sounds[0]) == int(str(item.facts["seconds"])) * RATE
        loudness[item.facts["kind"]] = float(np.abs(asked.sounds[0]).max())
    assert loudness["silence"] == 0 < min(loudness["white"], loudness["hum"])
