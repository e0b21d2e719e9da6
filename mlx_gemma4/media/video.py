"""Videos as pictures with their true times. Files need PyAV (the extra `mlx-gemma4[video]`).

Knows nothing of MLX. Of a file frames are chosen evenly by number, as in transformers 5.23
`video_utils.py` (`default_sample_indices_fn`); their times are the file's, not number / rate.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import Gemma4Error

FRAMES = 32
"""The most frames of a video that the model takes (transformers `num_frames`)."""
FRAME_TOKENS = 70
"""The budget of patches for one frame (transformers `max_soft_tokens` of the video processor)."""

Film = Sequence[tuple[float, Image.Image | str | Path | NDArray[np.generic]]]
"""(seconds, picture) of each frame, in order; pictures are what `images.patches` takes."""

_SEEK_FRAMES = 250  # the usual distance of key frames: nearer than that, decoding on is as fast


def label(seconds: float) -> str:
    """Give the text that stands before a frame: minutes and seconds, mm:ss, cut to the second."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def timed(film: Film) -> Film:
    """Check frames that come with their times.

    Raises:
        Gemma4Error: if there are none or more than FRAMES, or a time is negative, not finite or
            before the one that precedes it.
    """
    title = "The video is not usable"
    if not 1 <= len(film) <= FRAMES:
        raise Gemma4Error(
            "video_unreadable",
            title,
            f"It has {len(film)} frames.",
            f"Give 1 to {FRAMES}, spread over its length.",
        )
    before = 0.0
    for number, (seconds, _) in enumerate(film, 1):
        if not before <= seconds < math.inf:  # NaN fails this too
            raise Gemma4Error(
                "video_unreadable",
                title,
                f"Frame {number} is at {seconds} s, and the time before it is {before} s.",
                "Give seconds from 0 on, in order.",
            )
        before = seconds
    return film


def open_video(path: str | Path, frames: int = FRAMES) -> list[tuple[float, Image.Image]]:
    """Pick frames of a video file evenly over its length.

    Args:
        path: any file that FFmpeg can decode; its sound is not used.
        frames: the most frames to pick.

    Returns:
        (seconds since the first frame, upright RGB picture) of each, in order.

    Raises:
        Gemma4Error: if PyAV is not installed, or the file is missing, damaged or no video.
    """
    path = Path(path)
    title = f"The video {path.name} cannot be read"
    try:
        import av
    except ImportError as error:
        raise Gemma4Error(
            "video_unreadable", title, "PyAV is not installed.", "Run pip install av."
        ) from error
    if not path.is_file():
        raise Gemma4Error("video_unreadable", title, f"There is no file {path}.", "Check the path.")
    try:
        with av.open(str(path)) as container:  # packets alone tell the times, without decoding
            packets = container.demux(container.streams.video[0])
            times = sorted(packet.pts for packet in packets if packet.pts is not None)
        count = min(frames, len(times))
        wanted = [times[number * len(times) // count] for number in range(count)]
        picked: list[tuple[float, Image.Image]] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            coming: Iterator[Any] = container.decode(stream)
            for target in wanted:
                if len(times) > count * _SEEK_FRAMES:
                    container.seek(target, stream=stream)
                    coming = container.decode(stream)
                frame = next((f for f in coming if f.pts is not None and f.pts >= target), None)
                if frame is not None:
                    seconds = float((frame.pts - times[0]) * stream.time_base)
                    # `rotation` is what a player must turn it by, counter-clockwise
                    picked.append((seconds, frame.to_image().rotate(frame.rotation, expand=True)))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise Gemma4Error(
            "video_unreadable",
            title,
            f"It is damaged or holds no video ({error}).",
            "Give an mp4, mov, mkv or webm file that plays to its end.",
        ) from error
    if not picked:
        raise Gemma4Error(
            "video_unreadable", title, "It holds no frames.", "Give a video that plays."
        )
    return picked
