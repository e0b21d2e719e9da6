"""Sound files of any rate, depth and number of channels -> mono at 16 kHz, a block at a time.

libsndfile reads wav, flac, ogg, opus, mp3, aiff, caf and au; what it does not know is read by
`other_formats.py`. How long a file is comes from its header, and is bounded before it is decoded.
"""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .. import limits
from ..errors import Gemma4Error
from . import other_formats
from .samples import RATE, Mixer, Samples, bounded, need_rate
from .sound_pieces import SoundPiece, Window, pieces
from .sources import Source, Unreadable, name_of, opened, unreadable

if TYPE_CHECKING:
    from soundfile import SoundFile

_NUMBERS = 1 << 17  # of a block: samples times channels
_STEP = 64  # samples at a time where a file is damaged: what a reader fails on is lost as a whole

Block = tuple[Samples, int]
"""(n, channels) of sound, and its samples a second."""


def read(source: Source) -> tuple[Samples, tuple[str, ...]]:
    """Read a sound as `audio.read_sound` does: its samples, and notes."""
    name = name_of(source)
    fail = unreadable("sound", name)
    with opened(source, fail) as file:
        sounds = [_Sound(file, piece, name, fail) for piece in pieces(file)]
        announced = sum(sound.seconds or 0.0 for sound in sounds)
        if announced > limits.SOUND_SECONDS:
            raise fail(
                f"It lasts {announced / 60:.0f} minutes.",
                f"Use at most {limits.SOUND_SECONDS // 60} minutes.",
            )
        samples = np.concatenate([sound.read() for sound in sounds])
    if not samples.size:
        raise fail(
            f"It holds no sound. {' '.join(sounds[0].notes)}".rstrip(), "Record or export it again."
        )
    samples, note = bounded(samples, max(sound.peak for sound in sounds))
    notes = [note for sound in sounds for note in sound.notes] + ([note] if note else [])
    return samples, tuple(dict.fromkeys(notes))


def seconds_of(source: Source) -> float:
    """How long a sound says it is, in seconds; decoded only where it does not say it.

    Raises:
        Gemma4Error: if it is empty or no sound.
    """
    fail = unreadable("sound", name_of(source))
    with opened(source, fail) as file:
        lengths = [_Sound(file, piece, "", fail).seconds for piece in pieces(file)]
    if None in lengths:
        return len(read(source)[0]) / RATE
    return sum(length or 0.0 for length in lengths)


class _Sound:
    """One piece of a file.

    Attributes:
        seconds: as its header says; None where it does not say it.
        notes: what was found while it was read.
        peak: the largest of the samples that were clipped; 0 where none was.
    """

    def __init__(self, file: BinaryIO, piece: SoundPiece, name: str, fail: Unreadable) -> None:
        self._file, self._piece, self._fail = file, piece, fail
        self._name = name or "The sound"
        self.notes: list[str] = [piece.note] if piece.note else []
        self.seconds: float | None = None
        self.peak = 0.0
        self._native, self._broken, self._exact = True, False, True
        with self._open() as opened_file:
            if opened_file is None:
                self._native = False
                try:
                    found = other_formats.sound_seconds(self._window(), fail)
                except Gemma4Error as error:  # of what was cut the reader knows no more than that
                    raise fail(f"{piece.note} {error.cause}".lstrip(), error.remedy) from error
                self.seconds, self._exact = found
            elif not piece.endless and opened_file.frames < 2**62:
                self.seconds = opened_file.frames / opened_file.samplerate

    def read(self) -> Samples:
        """Decode it all: (n,) mono at 16 kHz."""
        mixer = Mixer()
        samples = self._mono(mixer)
        if self._broken and (more := self._beyond_the_damage()) is not None:
            samples = more if len(more) > len(samples) else samples
        if mixer.cancelled is not None:
            kept = mixer.cancelled
            self.notes.append(
                f"Its channels cancel each other out: only channel {kept + 1} is used."
            )
            samples = self._mono(Mixer(kept))
        self.peak = mixer.peak
        return samples

    def _beyond_the_damage(self) -> Samples | None:
        """Decode by FFmpeg, which goes on after a damaged part; None where it is not there."""
        if other_formats.pyav() is None:
            return None
        self._native = False
        try:
            return self._mono(Mixer())
        except Gemma4Error:
            return None
        finally:
            self._native = True

    def _mono(self, mixer: Mixer) -> Samples:
        done: list[Samples] = [np.zeros(0, np.float32)]
        resampler, count = None, 0
        for block, rate in self._blocks():
            try:
                need_rate(rate)
                mono = mixer.add(block)
            except Gemma4Error as error:  # with the name of the file
                raise self._fail(error.cause, error.remedy) from error
            count += len(mono)
            if count > limits.SOUND_SECONDS * rate:
                raise self._fail(
                    f"It lasts more than {limits.SOUND_SECONDS // 60} minutes.",
                    f"Use at most {limits.SOUND_SECONDS // 60} minutes.",
                )
            if rate != RATE and resampler is None:
                import soxr

                resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32")
            done.append(mono.copy() if resampler is None else resampler.resample_chunk(mono))
        if resampler is not None:
            done.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate(done)

    def _blocks(self) -> Iterator[Block]:
        if not self._native:
            seconds = 0.0
            for block, rate in other_formats.sound_blocks(self._window(), self._fail):
                seconds += len(block) / rate
                yield block, rate
            if (self._exact or self._piece.missing) and not self._broken:
                self._compare(seconds, "")
            return
        from soundfile import SoundFileError

        done, broken, rate = 0, "", RATE
        with self._open() as file:
            assert file is not None
            rate = file.samplerate
            size = max(1, _NUMBERS // file.channels)
            try:
                while len(block := file.read(size, dtype="float32", always_2d=True)):
                    done += len(block)
                    yield block, rate
            except SoundFileError as error:
                broken = str(error)
        if broken:  # what the reader had of the last block is lost: once more, in small steps
            for block in self._after(done):
                done += len(block)
                yield block, rate
        self._broken = bool(broken) and self.seconds is not None
        self._compare(done / rate, broken)

    def _after(self, done: int) -> Iterator[Samples]:
        from soundfile import SoundFileError

        with self._open() as file:
            assert file is not None
            try:
                while done:
                    done -= len(file.read(min(done, _NUMBERS), dtype="float32", always_2d=True))
                while len(block := file.read(_STEP, dtype="float32", always_2d=True)):
                    yield block
            except SoundFileError:
                return

    def _compare(self, seconds: float, broken: str) -> None:
        if self._piece.missing:
            missing = f"{self._piece.missing:,} bytes are missing at its end."
            note = f"{self._name} is cut off: {missing}"
        elif self.seconds is not None and (broken or self.seconds - seconds > 0.1):
            digits = 1 if self.seconds - seconds > 0.1 else 2
            announced, there = f"{self.seconds:.{digits}f} s", f"{seconds:.{digits}f} s"
            note = f"{self._name} announces {announced}, but only {there} are there."
        else:
            return
        if note not in self.notes:
            self.notes.append(note)

    def _window(self) -> BinaryIO:
        return io.BufferedReader(Window(self._file, self._piece))

    def _open(self) -> "AbstractContextManager[SoundFile | None]":
        return _opened(self._file, self._piece)


@contextmanager
def _opened(file: BinaryIO, piece: SoundPiece) -> "Iterator[SoundFile | None]":
    """Open a piece with libsndfile, for as long as it is used; None where that cannot read it."""
    import soundfile

    sound = None
    # TypeError: it would have to be told the format of a headerless file
    with suppress(soundfile.SoundFileError, TypeError, ValueError, OSError):
        sound = soundfile.SoundFile(Window(file, piece))
    try:
        yield sound
    finally:
        if sound is not None:
            sound.close()
