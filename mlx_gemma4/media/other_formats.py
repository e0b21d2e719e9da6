"""Formats that Pillow and libsndfile do not know: HEIC pictures; m4a, aac, qta, amr, wma sound.

They are opened by what is installed, or by other programs (`programs.py`), which every Mac has.
Neither pillow-heif nor PyAV comes with us: both carry x265, which is under the GPL.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..errors import Gemma4Error
from . import programs
from .samples import Samples
from .sources import Unreadable

FAILED = 100_000
"""The most packets that cannot be read: where all is damage, reading ends."""


@contextmanager
def heic(file: BinaryIO, fail: Unreadable) -> Iterator[Image.Image]:
    """Open a HEIC picture; errors are made by `fail`."""
    if (convert := programs.sips()) is not None:
        with _converted(file, ".heic", ".jpg", convert, fail) as (made, _):
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
    if (av := pyav()) is None:
        return None, False
    try:
        with _container(av, file, fail) as container:
            if not container.duration:
                return None, False
            named = container.format.name.startswith(("mov", "matroska"))
            return container.duration / av.time_base, named and not container.streams.video
    except Gemma4Error:
        if programs.afconvert() is None:
            raise
        return None, False


def sound_blocks(
    file: BinaryIO, fail: Unreadable, lost: Callable[[], None]
) -> Iterator[tuple[Samples, int]]:
    """Decode a sound: blocks (n, channels) with their samples a second.

    `lost` is called where a part cannot be read. A Mac's own program does not report that, and is
    used only for what PyAV cannot open.
    """
    afconvert = programs.afconvert()
    if pyav() is not None:
        try:
            yield from packets(file, fail, lost)
            return
        except Gemma4Error:  # nothing was decoded
            if afconvert is None:
                raise
    if (convert := afconvert or programs.ffmpeg()) is None:
        raise fail(
            "It is damaged, or in a format that this machine cannot read.",
            "Run `python -m pip install av`, or make a wav file of it: "
            "`ffmpeg -i INPUT OUTPUT.wav`.",
        )
    import soundfile

    with _converted(file, ".m4a", ".wav", convert, fail) as (made, complaints):
        if complaints and afconvert is None:  # what a Mac's programs print need not be of this file
            lost()
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
        container = av.open(file, options={"format_whitelist": programs.DEMUXERS})
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


@contextmanager
def _converted(
    file: BinaryIO, suffix: str, made_suffix: str, convert: programs.Convert, fail: Unreadable
) -> Iterator[tuple[Path, str]]:
    """Convert a file by another program, in a folder that only this user may read."""
    with tempfile.TemporaryDirectory(prefix="gemma4-") as folder:
        copy, made = Path(folder) / f"given{suffix}", Path(folder) / f"made{made_suffix}"
        file.seek(0)
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target)
        yield made, convert(copy, made, fail)
