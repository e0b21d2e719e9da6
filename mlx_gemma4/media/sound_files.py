"""Sound files of any rate, depth and number of channels -> mono at 16 kHz, a block at a time.

libsndfile reads wav, flac, ogg, opus, mp3, aiff, caf and au; what it does not know is read by
`other_formats.py`. How long a file is comes from its header, and is bounded before it is decoded.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


def read(source: Source) -> tuple[Samples, tuple[str, ...]]:
    """Read a sound as `audio.read_sound` does: its samples, and notes."""
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
        parts: list[Samples] = []
        left = float(limits.SOUND_SECONDS)  # several may announce no length
        for sound in sounds:
            parts.append(sound.read(left))
            left -= len(parts[-1]) / RATE
        samples = np.concatenate(parts)
    if not samples.size:
        raise fail(
            f"It holds no sound. {' '.join(sounds[0].notes)}".rstrip(), "Record or export it again."
        )
    samples, note = bounded(samples, max(sound.peak for sound in sounds))
    notes = [note for sound in sounds for note in sound.notes] + ([note] if note else [])
    return samples, tuple(dict.fromkeys(notes))


def seconds_of(source: Source) -> float:
    """The seconds that a sound announces; it is decoded only where it announces none.

    Raises:
        Gemma4Error: if it is empty or no sound.
    """
    seconds = announced(source)
    return len(read(source)[0]) / RATE if seconds is None else seconds


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


class _Sound:
    """One piece of a file.

    Attributes:
        seconds: as in its header; None where they are not there.
        notes: what was found while it was read.
        peak: the largest of the samples that were clipped; 0 where none was.
    """

    def __init__(self, file: BinaryIO, piece: SoundPiece, name: str, fail: Unreadable) -> None:
        self._file, self._piece, self._fail = file, piece, fail
        self._name = name or "The sound"
        self.notes: list[str] = [piece.note] if piece.note else []
        self.seconds: float | None = None
        self.peak = 0.0
        self._most = float(limits.SOUND_SECONDS)
        self._decode: _Decode | None = None  # libsndfile's own
        self._exact = True
        self._there, self._broken, self._within, self._unused = 0.0, False, False, ""
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

    def read(self, most: float) -> Samples:
        """Decode it all: (n,) mono at 16 kHz. It may last `most` seconds."""
        self._most = most
        mixer = Mixer()
        samples = self._mono(mixer)
        if self._decode is None and (self._broken or self._lacks(0.1)):
            samples, mixer = self._beyond_the_damage(samples, mixer)
        self._account()
        if mixer.cancelled is not None:
            kept = mixer.cancelled
            self.notes.append(
                f"Its channels cancel each other out: only channel {kept + 1} is used."
            )
            samples = self._mono(Mixer(kept))
        self.peak = mixer.peak
        return samples

    def _beyond_the_damage(self, samples: Samples, mixer: Mixer) -> tuple[Samples, Mixer]:
        """What FFmpeg decodes, which continues after a damaged part, where that is more."""
        if other_formats.pyav() is None:
            return samples, mixer
        other, found = Mixer(), (self._there, self._broken, self._within)
        self._decode = other_formats.packets
        try:
            more = self._mono(other)
        except Gemma4Error:
            more = samples
        if len(more) > len(samples):
            self._broken, self._within = True, self._within or found[2]
            return more, other
        self._decode = None
        self._there, self._broken, self._within = found
        return samples, mixer

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
            if count > self._most * rate:
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
        if self._decode is not None:
            lost: list[float] = []
            self._there = 0.0
            blocks = self._decode(self._buffered(), self._fail, lambda: lost.append(self._there))
            for block, rate in blocks:
                self._there += len(block) / rate
                yield block, rate
            self._broken = bool(lost)
            self._within = self._broken and lost[0] < self._there
            return
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
            self._within = broken and window.left > 0
            if file.format == "FLAC" and not broken and window.left > AHEAD + SPARE:
                self._unused = f"More than {window.left:,} bytes after its end are not used."
        if broken:  # what the reader had of the last block is lost: once more, in small steps
            for block in self._after(done):
                done += len(block)
                yield block, rate
        # where a sound of unknown length ends, only an error shows
        self._broken = broken and (self.seconds is not None or self._within)
        self._there = done / rate

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

    def _lacks(self, seconds: float) -> bool:
        """Whether so much of what is announced is not there."""
        announced = self.seconds if self._exact else None
        return announced is not None and announced - self._there > seconds

    def _account(self) -> None:
        """Add the notes on what is missing, and on what is there and cannot be read."""
        beyond = self._within or self._decode is not None or DAMAGED in self.notes
        if self._piece.missing:
            missing = f"{self._piece.missing:,} bytes are missing at its end."
            self.notes.append(f"{self._name} is cut off: {missing}")
        elif self._lacks(0.005 if self._broken else 0.1):
            digits = 1 if self._lacks(0.1) else 2
            announced, there = f"{self.seconds:.{digits}f} s", f"{self._there:.{digits}f} s"
            how = "can be read" if beyond else "are there"
            self.notes.append(f"{self._name} announces {announced}, but only {there} {how}.")
            return
        if self._within if self._piece.missing else self._broken:
            self.notes.append(DAMAGED)
        if self._unused:
            self.notes.append(self._unused)

    def _window(self) -> Window:
        return Window(self._file, self._piece)

    def _buffered(self) -> BinaryIO:
        return io.BufferedReader(self._window())


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
