"""Recordings with their words: those that packages of Debian bring, and the user's own."""

import gzip
import random
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import Gemma4Error
from ...media.audio import LIMIT_SECONDS, RATE, Samples, read_sound, to_mono16k

ASTERISK = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
ASTERISK_WORDS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
SPHINX = Path("/usr/share/pocketsphinx/test/data")
SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
_SENTENCE = 4  # words; shorter prompts are cut out of sentences
_G722 = 8000  # bytes a second (ITU-T G.722 at 64 kbit/s)
_TAGS = re.compile(r"</?s>|\([^)]*\)")


@dataclass(frozen=True)
class LabelledSound:
    """A file and what is said in it: nothing where its text is empty."""

    id: str
    source: str
    file: Path
    text: str
    language: str = "en"  # of two letters

    @property
    def digest(self) -> str:
        """Eight digits that change with the text and the file."""
        sum_ = zlib.crc32(self.text.encode())
        with suppress(OSError):  # it is reported when it is asked about
            sum_ = zlib.crc32(self.file.read_bytes(), sum_)
        return f"{sum_:08x}"

    def read(self) -> Samples:
        """Read it, (n,) float32 at 16 kHz; raises Gemma4Error where it cannot be read."""
        return _g722(self.file) if self.file.suffix == ".g722" else read_sound(self.file).samples


def human(seed: int, count: int) -> list[LabelledSound]:
    """Human speech of each package that is there: at most `count` of each, drawn by the seed.

    asterisk-core-sounds-en-g722: prompts of a telephone exchange by one speaker (CC-BY-SA-3.0).
    pocketsphinx-testdata: sentences of a novel, read for LibriVox, and playing cards (BSD).
    """
    sources = (list(_asterisk()), list(_sphinx("librivox")), list(_sphinx("cards")))
    for recordings in sources:
        random.Random(seed).shuffle(recordings)
    if found := [one for recordings in sources for one in recordings[:count]]:
        return found
    raise Gemma4Error(
        "recordings_missing",
        "There is no human speech on this machine",
        "It comes from Debian's packages asterisk-core-sounds-en-g722 and pocketsphinx-testdata, "
        "and neither is installed.",
        "Install them with apt, or use recordings of your own with --folder.",
    )


def own(folder: Path) -> list[LabelledSound]:
    """The user's recordings, in the order of their names.

    Beside each sound is its text under the same name: talk.wav and talk.txt, or talk.de.txt for
    another language than English. Folders of LibriSpeech (*.trans.txt) are taken as they are.
    """
    if not folder.is_dir():
        raise Gemma4Error(
            "recordings_missing",
            "The folder of recordings is not there",
            f"There is no folder {folder}.",
            "Name the folder that holds sounds and their texts.",
        )
    texts = _texts(folder)
    sounds = [path for path in _shown(folder) if path.suffix.lower() in SOUNDS]
    if not sounds:
        raise Gemma4Error(
            "folder_empty",
            "The folder has no recordings",
            f"In {folder} is no file that ends in {', '.join(SOUNDS)}.",
            "Put sounds there, and beside each its text: talk.wav and talk.txt.",
        )
    if missing := [path for path in sounds if path.with_suffix("") not in texts]:
        raise Gemma4Error(
            "recording_without_text",
            "A recording has no text",
            f"Beside {missing[0]} is no {missing[0].stem}.txt ({len(missing)} such).",
            "Write down what is said in it; leave the file empty where nothing is said.",
        )
    return [
        LabelledSound(str(path.relative_to(folder)), "folder", path, *texts[path.with_suffix("")])
        for path in sounds
    ]


def _shown(folder: Path, pattern: str = "*") -> list[Path]:
    """Files below it, but for hidden ones: macOS leaves `._NAME` and .Trashes on other disks."""
    found = sorted(folder.rglob(pattern))
    shown = [path for path in found if "/." not in f"/{path.relative_to(folder)}"]
    return [path for path in shown if path.is_file()]


def _texts(folder: Path) -> dict[Path, tuple[str, str]]:
    """Path of a sound, without its ending, -> text and language."""
    found = {}
    for path in _shown(folder, "*.txt"):
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            cause = f"{path} is not UTF-8."
            raise Gemma4Error(
                "text_unreadable", "A text cannot be read", cause, "Save it as UTF-8."
            ) from error
        name, _, ending = path.stem.rpartition(".")
        if ending == "trans":
            for line in filter(None, map(str.strip, text.splitlines())):
                utterance, _, said = line.partition(" ")
                found[path.parent / utterance] = (said.strip(), "en")
            continue
        language = ending if name and re.fullmatch("[a-z]{2}", ending) else "en"
        if language == ending:
            found[path.with_name(name)] = (text.strip(), language)
        found[path.with_suffix("")] = (text.strip(), language)  # beside talk.de.wav, too
    return found


def _asterisk() -> Iterator[LabelledSound]:
    if not ASTERISK_WORDS.is_file():
        return
    for line in gzip.decompress(ASTERISK_WORDS.read_bytes()).decode("utf-8").splitlines():
        name, _, text = line.partition(":")
        file = ASTERISK / f"{name}.g722"
        no_words = line.startswith(";") or "[" in text or "(" in text  # tones, silences
        if no_words or len(text.split()) < _SENTENCE:
            continue
        if file.is_file() and file.stat().st_size < LIMIT_SECONDS * _G722:
            yield LabelledSound(name, "asterisk", file, text.strip())


def _sphinx(name: str) -> Iterator[LabelledSound]:
    words = SPHINX / name / ("transcription" if name == "librivox" else f"{name}.transcription")
    lines = words.read_text("utf-8").splitlines() if words.is_file() else []
    for line in lines:
        file = SPHINX / name / f"{line.rpartition('(')[2].rstrip(') ')}.wav"
        if file.is_file():
            text = " ".join(_TAGS.sub(" ", line).split())
            yield LabelledSound(f"{name}-{file.stem}", name, file, text)


def _g722(file: Path) -> Samples:
    try:
        import av
    except ModuleNotFoundError as error:
        raise Gemma4Error(
            "sound_unreadable",
            f"The sound {file.name} cannot be read",
            "It is coded as G.722, which needs the Python package av.",
            "pip install 'mlx-gemma4[video]'",
        ) from error
    with av.open(str(file), format="g722") as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate([part.reshape(-1) for part in parts])
    return to_mono16k(samples, RATE)
