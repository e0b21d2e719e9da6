"""Videos as pictures with their true times. Files need PyAV (the extra `mlx-gemma4[video]`).

Knows nothing of MLX. Of a file frames are chosen evenly by number, as in transformers 5.23
`video_utils.py` (`default_sample_indices_fn`); their times are the file's, not number / rate.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import limits
from ..errors import Gemma4Error
from .other_formats import FAILED
from .programs import DEMUXERS
from .sound_window import DAMAGED
from .sources import Source, Unreadable, name_of, opened, unreadable

FRAMES = 32
"""The most frames of a video that the model takes (transformers `num_frames`)."""
FRAME_TOKENS = 70
"""The budget of patches for one frame (transformers `max_soft_tokens` of the video processor)."""

Film = Sequence[tuple[float, Image.Image | Source | NDArray[np.generic]]]
"""(seconds, picture) of each frame, in order; pictures are what `images.patches` takes."""

_SEEK_FRAMES = 250  # the usual distance of key frames: nearer than that, decoding on is as fast


def label(seconds: float) -> str:
    """Return the text before a frame: minutes and seconds, mm:ss, cut to the second."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def timed(film: Film) -> Film:
    """Check frames that come with their times: 1 to FRAMES of them, from 0 s on, in order.

    Raises Gemma4Error where they are not so.
    """
    pairs = isinstance(film, Sequence) and all(
        isinstance(f, Sequence) and len(f) == 2 for f in film
    )
    if not pairs or not all(isinstance(seconds, int | float) for seconds, _ in film):
        raise _unusable(
            f"It is a {type(film).__name__} that holds no pairs of seconds and a picture.",
            "Use a path, the bytes of a video file, or such pairs.",
        )
    if not 1 <= len(film) <= FRAMES:
        raise _unusable(
            f"It has {len(film)} frames.", f"Use 1 to {FRAMES}, spread over its length."
        )
    before = 0.0
    for number, (seconds, _) in enumerate(film, 1):
        if not before <= seconds < math.inf:  # NaN fails this too
            raise _unusable(
                f"Frame {number} is at {seconds} s, and the time before it is {before} s.",
                "Use seconds from 0 on, in order.",
            )
        before = seconds
    return film


def _unusable(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("video_unreadable", "The video is not usable", cause, remedy)


def film_of(
    video: Source | Film, note: Callable[[str], object] | None = None
) -> Iterable[tuple[float, Any]]:
    """Frames with their times, of a file or of what `timed` takes; `note` as in `frames_of`."""
    if isinstance(video, Sequence) and not isinstance(video, str | bytes | bytearray | memoryview):
        return timed(video)
    return frames_of(video, note=note)


def frames_of(
    source: Source, frames: int = FRAMES, note: Callable[[str], object] | None = None
) -> Iterator[tuple[float, Image.Image]]:
    """Pick frames of a video evenly over its length, one at a time, at most `frames`.

    The source, a path or a file's bytes, is what FFmpeg can decode; its sound is not used.
    `note` is called after the last frame where something could not be read.

    Yields:
        (seconds since the first frame, upright RGB picture) of each, in order.

    Raises:
        Gemma4Error: if PyAV is not installed, or the file is missing, damaged, too large or no
            video.
    """
    fail = unreadable("video", name_of(source))
    try:
        import av
    except ImportError as error:
        raise fail("PyAV is not installed.", "Run `python -m pip install av`.") from error
    picked: list[int] = []
    errors: list[Exception] = []
    with opened(source, fail) as file:
        try:
            times, keys = _times(av, file, fail)
            count = min(frames, len(times))
            wanted = [times[number * len(times) // count] for number in range(count)]
            with _container(av, file) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                coming = _decoded(av, container, stream, errors)
                for target in wanted:
                    before = bisect_right(keys, (target, math.inf))
                    if before and len(times) > count * _SEEK_FRAMES:
                        # where mpeg streams are entered elsewhere, nothing is decoded up to a key
                        container.seek(keys[before - 1][1], stream=stream)
                        coming = _decoded(av, container, stream, errors)
                    later = (f for f in coming if f.pts is not None and f.pts >= target)
                    frame = next((f for f in later if f.pts not in picked), None)
                    if frame is not None:
                        picked.append(frame.pts)
                        seconds = float((frame.pts - times[0]) * stream.time_base)
                        # `rotation` is what a player must turn it by, counter-clockwise
                        yield seconds, frame.to_image().rotate(frame.rotation, expand=True)
        except (av.FFmpegError, IndexError, ValueError, TypeError, OverflowError) as error:
            errors.append(error)
    if not picked and errors:
        raise fail(
            f"It is damaged or holds no video ({errors[-1]}).",
            "Use an mp4, mov, mkv or webm file that plays to its end.",
        ) from errors[-1]
    if not picked:
        raise fail("It holds no frames.", "Use a video that plays.")
    if errors and note:
        note(DAMAGED)


def _decoded(av: Any, container: Any, stream: Any, errors: list[Exception]) -> Iterator[Any]:
    """Decode from here on, without the packets that cannot be read; `errors` grows by theirs."""
    packets = container.demux(stream)
    while len(errors) < FAILED and (packet := next(packets, None)) is not None:
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            errors.append(error)
        else:
            yield from decoded


def _times(av: Any, file: BinaryIO, fail: Unreadable) -> tuple[list[int], list[tuple[int, int]]]:
    """When each frame is shown, by packets alone, without decoding; bounds are checked.

    Also of each key frame when it is shown, and the time to seek to for it.
    """
    with _container(av, file) as container:
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > limits.VIDEO_PIXELS:
            raise fail(
                f"Its frames are {width}x{height}, more than {limits.VIDEO_PIXELS:,} pixels.",
                "Scale it down.",
            )
        times, keys = [], []
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            if packet.is_keyframe:
                keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            if not packet.is_discard:  # a cut film may hold what is decoded but not shown
                times.append(packet.pts)
            if len(times) > limits.VIDEO_FRAMES:
                raise fail(f"It has more than {limits.VIDEO_FRAMES:,} frames.", "Cut it.")
    return sorted(times), sorted(keys)


@contextmanager
def _container(av: Any, file: BinaryIO) -> Iterator[Any]:
    file.seek(0)
    with av.open(file, options={"format_whitelist": DEMUXERS}) as container:
        for stream in container.streams.video:
            if stream.codec_context is None:
                raise ValueError("its codec is not known")
            # a header may have another size than the frames
            stream.codec_context.options = {"max_pixels": str(limits.VIDEO_PIXELS)}
        yield container
