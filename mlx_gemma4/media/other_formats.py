"""Formats that Pillow and libsndfile do not know: HEIC pictures; m4a, aac, qta, amr, wma sound.

A Mac opens them by its own programs (`mac.py`), any other machine by what is installed. Neither
pillow-heif nor PyAV comes with us: both carry x265, which is under the GPL.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .. import limits
from . import mac
from .samples import Samples
from .sources import Unreadable

DEMUXERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,aac,amr,mp3,flac,wav,caf,aiff"
"""What FFmpeg may take a file for: no playlists, which lead to other files and addresses."""
FAILED = 100_000
"""The most packets that cannot be read: where all is damage, reading ends."""

_FFMPEG = ("ffmpeg", "-v", "error", "-nostdin", "-format_whitelist", DEMUXERS)
_SECONDS = 300.0


@contextmanager
def heic(file: BinaryIO, fail: Unreadable) -> Iterator[Image.Image]:
    """Open a HEIC picture; errors are made by `fail`."""
    if (convert := mac.sips()) is not None:
        with _converted(file, ".heic", ".jpg", convert, fail) as made:
            with Image.open(made, formats=["JPEG"]) as image:
                yield image
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise fail(
            "It is a HEIC picture, which this machine cannot open.",
            "Run `python -m pip install pillow-heif`, or save it as JPEG or PNG.",
        ) from error
    register_heif_opener()
    with Image.open(file, formats=["HEIF"]) as image:
        yield image


def sound_seconds(file: BinaryIO, fail: Unreadable) -> tuple[float | None, bool]:
    """The seconds that a sound announces; None where they are known only when it is decoded.

    Also whether they are exact: formats other than mp4 and Matroska are estimated by their bytes,
    and a video may announce the seconds of its pictures.
    """
    if mac.afconvert() or (av := pyav()) is None:
        return None, False
    with _container(av, file, fail) as container:
        if not container.duration:
            return None, False
        named = container.format.name.startswith(("mov", "matroska"))
        return container.duration / av.time_base, named and not container.streams.video


def sound_blocks(
    file: BinaryIO, fail: Unreadable, lost: Callable[[], None]
) -> Iterator[tuple[Samples, int]]:
    """Decode a sound: blocks (n, channels) with their samples a second.

    `lost` is called where a part cannot be read; a Mac's own program does not report it.
    """
    convert = mac.afconvert()
    if convert is None and pyav() is not None:
        yield from packets(file, fail, lost)
        return
    if convert is None and shutil.which("ffmpeg"):
        convert = partial(_ffmpeg, lost)
    if convert is None:
        raise fail(
            "It is damaged, or in a format that this machine cannot read.",
            "Run `python -m pip install av`, or make a wav file of it: "
            "`ffmpeg -i INPUT OUTPUT.wav`.",
        )
    import soundfile

    with _converted(file, ".m4a", ".wav", convert, fail) as made:
        with soundfile.SoundFile(made) as sound:
            while len(block := sound.read(1 << 16, dtype="float32", always_2d=True)):
                yield block, sound.samplerate


def packets(
    file: BinaryIO, fail: Unreadable, lost: Callable[[], None]
) -> Iterator[tuple[Samples, int]]:
    """Decode a sound by PyAV as `sound_blocks` does, without the packets that cannot be read."""
    import av

    with _container(av, file, fail) as container:
        planar = av.AudioResampler(format="fltp")  # numbers only: rate and channels stay
        given = container.demux(container.streams.audio[0])
        empty, failed, error = True, 0, None
        while failed < FAILED:
            try:
                if (packet := next(given, None)) is None:
                    break
                parts = [part for frame in packet.decode() for part in planar.resample(frame)]
            except (av.FFmpegError, ValueError) as caught:
                error, parts, failed = caught, [], failed + 1
                lost()
            for part in parts:
                empty = False
                yield np.ascontiguousarray(part.to_ndarray().T), part.sample_rate
        if empty and error is not None:
            raise fail(f"It is damaged ({error}).", "Record or export it again.") from error


@contextmanager
def _container(av: Any, file: BinaryIO, fail: Unreadable) -> Iterator[Any]:
    file.seek(0)
    try:
        container = av.open(file, options={"format_whitelist": DEMUXERS})
    except (av.FFmpegError, ValueError) as error:
        raise fail(
            f"It is damaged or not in a known sound format ({getattr(error, 'strerror', error)}).",
            "Use a wav, flac, ogg, mp3 or m4a file; `ffmpeg -i INPUT OUTPUT.wav` makes one.",
        ) from error
    with container:
        if not container.streams.audio:
            raise fail("It holds no sound.", "Use a file with a sound track.")
        yield container


def pyav() -> Any:
    """The module PyAV, which reads on after damage; None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


def _ffmpeg(lost: Callable[[], None], file: Path, made: Path, fail: Unreadable) -> None:
    command = [*_FFMPEG, "-t", str(limits.SOUND_SECONDS + 1), "-i", str(file), str(made)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise fail(f"ffmpeg cannot open it ({error}).", "Record or export it again.") from error
    if done.returncode or not made.is_file():
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no sound"]
        raise fail(f"ffmpeg cannot open it ({lines[-1]}).", "Record or export it again.")
    if done.stderr.strip():
        lost()


@contextmanager
def _converted(
    file: BinaryIO,
    suffix: str,
    made_suffix: str,
    convert: mac.Convert,
    fail: Unreadable,
) -> Iterator[Path]:
    """Convert a file by another program, in a folder that only this user may read."""
    with tempfile.TemporaryDirectory(prefix="gemma4-") as folder:
        copy, made = Path(folder) / f"given{suffix}", Path(folder) / f"made{made_suffix}"
        file.seek(0)
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target)
        convert(copy, made, fail)
        yield made
