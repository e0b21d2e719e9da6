"""Sound files of any rate, depth and number of channels -> mono at 16 kHz, a block at a time.

libsndfile reads wav, flac, ogg, opus, mp3, aiff, caf and au; what it does not know is read by
`other_formats.py`. How long a file is comes from its header, and is bounded before it is decoded.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .. import limits
from ..errors import Gemma4Error
from . import other_formats
from .samples import RATE, Mixer, Samples, bounded, need_rate
from .sound_pieces import AHEAD, SPARE, pieces
from .sound_window import DAMAGED, SoundPiece, Window
from .sources import Source, Unreadable, name_of, opened, unreadable

if TYPE_CHECKING:
    from soundfile import SoundFile

_NUMBERS = 1 << 17  # of a block: samples times channels
_STEP = 64  # samples at a time where a file is damaged: what a reader fails on is lost as a whole

Block = tuple[Samples, int]
"""(n, channels) of sound, and its samples a second."""
_Decode = Callable[[BinaryIO, Unreadable, Callable[[], None]], Iterator[Block]]


@dataclass(frozen=True, eq=False)
class Recording:
    """A sound file as the model takes it.

    Attributes:
        samples: (n,) float32, mono, 16 kHz, in [-1, 1].
        notes: what was done that the user may want to know, one sentence each.
    """

    samples: Samples
    notes: tuple[str, ...] = ()


def read_sound(source: Source) -> Recording:
    """Open a sound of any rate, depth and number of channels: a path, or a file's bytes.

    wav, flac, ogg, opus, mp3, aiff and caf are read everywhere; m4a, aac and others on a Mac, or
    where PyAV or ffmpeg is installed. Files that were joined to one are read to the end. Of a
    damaged or unfinished file what can be decoded is used, with a note of that.

    Raises:
        Gemma4Error: if the file is missing, empty, no sound or longer than an hour.
    """
    name = name_of(source)
    fail = unreadable("sound", name)
    with opened(source, fail) as file:
        sounds = _sounds(file, name, fail)
        least = sum(sound.seconds or 0.0 for sound in sounds)
        if least > limits.SOUND_SECONDS:
            raise fail(
                f"It lasts {least / 60:.0f} minutes.",
                f"Use at most {limits.SOUND_SECONDS // 60} minutes.",
            )
        parts: list[_Decoded] = []
        left = float(limits.SOUND_SECONDS)  # several may announce no length
        for sound in sounds:
            parts.append(sound.read(left))
            left -= len(parts[-1].samples) / RATE
    samples = np.concatenate([part.samples for part in parts])
    if not samples.size:
        raise fail(
            f"It holds no sound. {' '.join(sounds[0].notes)}".rstrip(), "Record or export it again."
        )
    samples, note = bounded(samples, max(part.mixer.peak for part in parts))
    notes = [note for sound in sounds for note in sound.notes] + ([note] if note else [])
    return Recording(samples, tuple(dict.fromkeys(notes)))


def seconds_of(source: Source) -> float:
    """The seconds that a sound announces; it is decoded only where it announces none.

    Raises Gemma4Error where it is empty or no sound.
    """
    seconds = announced(source)
    return len(read_sound(source).samples) / RATE if seconds is None else seconds


def announced(source: Source) -> float | None:
    """As `seconds_of`, without decoding: None where a part announces no length."""
    fail = unreadable("sound", name_of(source))
    with opened(source, fail) as file:
        lengths = [sound.seconds for sound in _sounds(file, "", fail)]
    return None if None in lengths else sum(length or 0.0 for length in lengths)


def _sounds(file: BinaryIO, name: str, fail: Unreadable) -> "list[_Sound]":
    """The pieces of a file; what follows the first one need not be a sound."""
    sounds: list[_Sound] = []
    for piece in pieces(file):
        try:
            sounds.append(_Sound(file, piece, name, fail))
        except Gemma4Error:
            if not sounds:
                raise
            sounds[-1].notes.append(f"{piece.stop - piece.start:,} bytes of it cannot be read.")
    return sounds


@dataclass(eq=False)
class _Decoded:
    """What was decoded of a piece.

    Attributes:
        samples: (n,) mono at 16 kHz.
        seconds: how long it lasts.
        broken: whether a part cannot be read.
        within: whether more comes behind such a part, or may be there.
        unused: a note on bytes after its end.
    """

    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    mixer: Mixer = field(default_factory=Mixer)
    seconds: float = 0.0
    broken: bool = False
    within: bool = False
    unused: str = ""


class _Sound:
    """One piece of a file.

    Attributes:
        seconds: as in its header; None where they are not there.
        notes: what was found while it was read.
    """

    def __init__(self, file: BinaryIO, piece: SoundPiece, name: str, fail: Unreadable) -> None:
        self._file, self._piece, self._fail = file, piece, fail
        self._name = name or "The sound"
        self.notes: list[str] = [piece.note] if piece.note else []
        self.seconds: float | None = None
        self._decode: _Decode | None = None  # libsndfile's own
        self._exact = True
        with _opened(self._window()) as opened_file:
            if opened_file is None:
                self._decode = other_formats.sound_blocks
                try:
                    found = other_formats.sound_seconds(self._buffered(), fail)
                except Gemma4Error as error:  # of what was cut the reader knows no more than that
                    raise fail(f"{piece.note} {error.cause}".lstrip(), error.remedy) from error
                self.seconds, self._exact = found
            elif not piece.endless and opened_file.frames < 2**62:
                self.seconds = opened_file.frames / opened_file.samplerate

    def read(self, most: float) -> _Decoded:
        """Decode it all, which may last `most` seconds, and add the notes on it."""
        decoded = self._decoded(self._decode, most)
        damaged = self._decode is None and (decoded.broken or self._lacks(decoded, 0.1))
        if damaged and other_formats.pyav() is not None:
            with suppress(Gemma4Error):  # FFmpeg continues after a damaged part
                more = self._decoded(other_formats.packets, most)
                if len(more.samples) > len(decoded.samples):
                    more.broken, more.within = True, more.within or decoded.within
                    self._decode, decoded = other_formats.packets, more
        self._account(decoded)
        if decoded.mixer.note:
            self.notes.append(decoded.mixer.note)
        return decoded

    def _decoded(self, decode: _Decode | None, most: float) -> _Decoded:
        decoded = _Decoded()
        blocks = self._by_libsndfile(decoded) if decode is None else self._by(decode, decoded)
        minutes = limits.SOUND_SECONDS // 60

        def mixed(run: Iterable[Block]) -> Iterator[Samples]:
            for block, rate in run:
                decoded.seconds += len(block) / rate
                if decoded.seconds > most + 0.001:
                    raise self._fail(
                        f"It lasts more than {minutes} minutes.", f"Use at most {minutes} minutes."
                    )
                yield decoded.mixer.add(block).copy()

        done = [decoded.samples]
        try:
            for rate, run in groupby(blocks, lambda block: block[1]):
                need_rate(rate)
                done += _resampled(mixed(run), rate)
        except Gemma4Error as error:  # with the name of the file
            raise self._fail(error.cause, error.remedy) from error
        decoded.samples = np.concatenate(done)
        return decoded

    def _by(self, decode: _Decode, decoded: _Decoded) -> Iterator[Block]:
        lost: list[float] = []
        yield from decode(self._buffered(), self._fail, lambda: lost.append(decoded.seconds))
        decoded.broken = bool(lost)
        decoded.within = decoded.broken and lost[0] < decoded.seconds

    def _by_libsndfile(self, decoded: _Decoded) -> Iterator[Block]:
        from soundfile import SoundFileError

        done, broken, window = 0, False, self._window()
        with _opened(window) as file:
            assert file is not None
            rate = file.samplerate
            size = max(1, _NUMBERS // file.channels)
            try:
                while len(block := file.read(size, dtype="float32", always_2d=True)):
                    done += len(block)
                    yield block, rate
            except SoundFileError:
                broken = True
            decoded.within = broken and window.left > 0
            if file.format == "FLAC" and not broken and window.left > AHEAD + SPARE:
                decoded.unused = f"More than {window.left:,} bytes after its end are not used."
        if broken:  # what the reader had of the last block is lost: once more, in small steps
            for block in self._after(done):
                yield block, rate
        # where a sound of unknown length ends, only an error shows
        decoded.broken = broken and (self.seconds is not None or decoded.within)

    def _after(self, done: int) -> Iterator[Samples]:
        from soundfile import SoundFileError

        with _opened(self._window()) as file:
            assert file is not None
            try:
                while done:
                    done -= len(file.read(min(done, _NUMBERS), dtype="float32", always_2d=True))
                while len(block := file.read(_STEP, dtype="float32", always_2d=True)):
                    yield block
            except SoundFileError:
                return

    def _lacks(self, decoded: _Decoded, seconds: float) -> bool:
        """Whether so much of what is announced is not there."""
        announced = self.seconds if self._exact else None
        return announced is not None and announced - decoded.seconds > seconds

    def _account(self, decoded: _Decoded) -> None:
        """Add the notes on what is missing, and on what is there and cannot be read."""
        beyond = decoded.within or self._decode is not None or DAMAGED in self.notes
        if self._piece.missing:
            missing = f"{self._piece.missing:,} bytes are missing at its end."
            self.notes.append(f"{self._name} is cut off: {missing}")
        elif self._lacks(decoded, 0.005 if decoded.broken else 0.1):
            digits = 1 if self._lacks(decoded, 0.1) else 2
            announced, there = f"{self.seconds:.{digits}f} s", f"{decoded.seconds:.{digits}f} s"
            how = "can be read" if beyond else "are there"
            self.notes.append(f"{self._name} announces {announced}, but only {there} {how}.")
            return
        if decoded.within if self._piece.missing else decoded.broken:
            self.notes.append(DAMAGED)
        if decoded.unused:
            self.notes.append(decoded.unused)

    def _window(self) -> Window:
        return Window(self._file, self._piece)

    def _buffered(self) -> BinaryIO:
        return io.BufferedReader(self._window())


def _resampled(blocks: Iterator[Samples], rate: float) -> Iterator[Samples]:
    """Bring blocks of one rate to 16 kHz."""
    if rate == RATE:
        yield from blocks
        return
    import soxr

    resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def _opened(window: Window) -> "Iterator[SoundFile | None]":
    """Open a piece with libsndfile, for as long as it is used; None where that cannot read it."""
    import soundfile

    sound = None
    # TypeError: of a headerless file, the format would have to be passed
    with suppress(soundfile.SoundFileError, TypeError, ValueError, OSError):
        sound = soundfile.SoundFile(window)
    try:
        yield sound
    finally:
        if sound is not None:
            sound.close()
