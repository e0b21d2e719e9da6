"""Sound to frames: open, mix down, resample to 16 kHz, cut into 640-sample frames of 40 ms.

Knows nothing of MLX or of the model: its output is plain numpy. The frame rule is that of
transformers 5.23 `models/gemma4_unified/feature_extraction_gemma4_unified.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Gemma4Error

if TYPE_CHECKING:
    from soundfile import SoundFile

RATE = 16_000
"""Samples a second that the model hears."""
FRAME = 640
"""Samples in a frame: 40 ms; one frame is one token."""
LIMIT_SECONDS = 30.0
"""The longest clip the model was made for (model card): 750 frames."""

_OPEN_LIMIT_SECONDS = 3600  # decoded whole, so a compressed file must not fill the memory
_BLOCK = 1 << 16
_QUIET = 5  # frames (200 ms) of a pause

Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recording:
    """A sound file as the model takes it.

    Attributes:
        samples: (n,) float32, mono, 16 kHz, in [-1, 1].
        notes: what was done that the user may want to know, one sentence each.
    """

    samples: Samples
    notes: tuple[str, ...] = ()


def frames(samples: ArrayLike, rate: float = RATE) -> Samples:
    """Cut sound into frames (n, 640) float32; the last one is padded with zeros.

    Args:
        samples: raw sound, as `to_mono16k` takes it.
        rate: its samples a second.

    Raises:
        Gemma4Error: as `to_mono16k`.
    """
    mono = to_mono16k(samples, rate)
    return np.pad(mono, (0, -len(mono) % FRAME)).reshape(-1, FRAME)


def to_mono16k(samples: ArrayLike, rate: float) -> Samples:
    """Make mono float32 at 16 kHz in [-1, 1] of raw sound.

    Args:
        samples: (n,), (n, channels) or (channels, n): the shorter side is the channels. Integers
            are scaled by their type; uint8 is centred on 128, as in wav files.
        rate: samples a second, 1,000 to 768,000.

    Returns:
        (m,) float32. Channels are averaged. Sound that goes beyond [-1, 1] is scaled down as a
        whole: the model normalises every frame, so nothing is lost, as it would be by clipping.

    Raises:
        Gemma4Error: if it is empty, not finite, of an unknown type or shape, or of an absurd rate.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise Gemma4Error(
            "sound_malformed",
            "The sound has a wrong shape",
            f"Its shape is {array.shape}.",
            "Give one number a sample, or two dimensions: samples and channels.",
        )
    if not 1_000 <= rate <= 768_000:
        raise Gemma4Error(
            "sample_rate_unusable",
            "The sample rate is not usable",
            f"It is {rate} samples a second.",
            "Give the rate at which the sound was recorded, 1,000 to 768,000.",
        )
    mono = _scaled(array)
    if mono.ndim == 2:
        mono = mono.mean(axis=int(mono.shape[0] > mono.shape[1]), dtype=np.float32)
    if not np.isfinite(mono).all():
        raise Gemma4Error(
            "sound_damaged",
            "The sound is damaged",
            "It holds values that are not numbers (NaN or infinity).",
            "Record or export it again.",
        )
    if rate != RATE and mono.size:
        import soxr

        mono = soxr.resample(mono, rate, RATE).astype(np.float32)
    if mono.size == 0:
        raise Gemma4Error(
            "sound_empty",
            "The sound is empty",
            "It has no samples, or too few to make one at 16 kHz.",
            "Give a recording that is not empty.",
        )
    peak = float(np.abs(mono).max())
    return mono / np.float32(peak) if peak > 1 else mono


def open_sound(path: str | Path) -> Samples:
    """Open a sound file as mono float32 at 16 kHz: `read_sound` without its notes."""
    return read_sound(path).samples


def read_sound(path: str | Path) -> Recording:
    """Open a wav, flac, ogg, opus, mp3 or aiff file of any rate, depth and number of channels.

    Of a damaged or unfinished file what can be decoded is used, and a note says so.

    Raises:
        Gemma4Error: if the file is missing, empty, no sound or longer than an hour.
    """
    from soundfile import SoundFileError

    path = Path(path)
    title = _title(path)
    if not path.is_file():
        raise Gemma4Error("sound_unreadable", title, f"There is no file {path}.", "Check the path.")
    blocks: list[Samples] = []
    broken = ""
    with _opened(path) as file:
        rate, announced = file.samplerate, file.frames / file.samplerate
        if announced > _OPEN_LIMIT_SECONDS:
            raise Gemma4Error(
                "sound_unreadable",
                title,
                f"It lasts {announced / 60:.0f} minutes.",
                "Give at most an hour.",
            )
        try:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
        except SoundFileError as error:
            broken = str(error)
    if not blocks:
        raise Gemma4Error(
            "sound_unreadable",
            title,
            f"It holds no sound. {broken}".rstrip(),
            "Record or export it again.",
        )
    mono = np.concatenate(blocks)
    seconds = len(mono) / rate
    notes: tuple[str, ...] = ()
    if missing := _missing_bytes(path):
        notes = (f"{path.name} is cut off: {missing:,} bytes are missing at its end.",)
    elif broken or announced - seconds > 0.1:
        notes = (f"{path.name} announces {announced:.1f} s, but only {seconds:.1f} s are there.",)
    return Recording(to_mono16k(mono, rate), notes)


def seconds_of(path: Path) -> float:
    """How long a sound file says it is, in seconds; nothing of it is decoded.

    Raises:
        Gemma4Error: if it is empty or no sound.
    """
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


def _opened(path: Path) -> "SoundFile":
    import soundfile

    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw file
        raise Gemma4Error(
            "sound_unreadable",
            _title(path),
            "It is empty, damaged or not in a known sound format.",
            "Give a wav, flac, ogg or mp3 file; ffmpeg -i INPUT OUTPUT.wav makes one.",
        ) from error


def _title(path: Path) -> str:
    return f"The sound {path.name} cannot be read"


def _missing_bytes(path: Path) -> int:
    """Bytes that a wav header announces and the file lacks; libsndfile says nothing of it."""
    with path.open("rb") as file:
        kind, size = file.read(4), int.from_bytes(file.read(4), "little")
    unknown = size in (0, 2**32 - 1)  # written by programs that could not know the length
    return 0 if kind != b"RIFF" or unknown else max(0, 8 + size - path.stat().st_size)


def clips(
    samples: Samples,
    limit_seconds: float = LIMIT_SECONDS,
    long: Literal["refuse", "split"] = "refuse",
) -> list[Samples]:
    """Make clips no longer than the limit; together they hold every sample, in order.

    Args:
        samples: (n,) mono at 16 kHz.
        limit_seconds: the longest clip.
        long: what to do with more: "refuse" raises, "split" cuts at the quietest place of the
            second half of each clip.

    Raises:
        Gemma4Error: if the sound is longer than the limit and `long` is "refuse".
    """
    limit = int(limit_seconds * RATE)
    if len(samples) > limit and long != "split":
        raise Gemma4Error(
            "sound_too_long",
            "The sound is too long",
            f"It lasts {len(samples) / RATE:.1f} s; the model hears at most {limit_seconds:g} s "
            "in one clip.",
            "Shorten it, or have it split into clips at its pauses (--split-audio).",
        )
    parts = []
    while len(samples) > limit:
        cut = _pause(samples[:limit])
        parts.append(samples[:cut])
        samples = samples[cut:]
    return [*parts, samples]


def _pause(samples: Samples) -> int:
    """Find the pause in the second half, as a whole number of frames."""
    whole = len(samples) // FRAME
    return pause(samples[: whole * FRAME].reshape(whole, FRAME), whole // 2) * FRAME


def pause(frames: Samples, start: int) -> int:
    """Find the frame in the middle of the last and quietest 200 ms from `start` on.

    Args:
        frames: (n, 640).
        start: the first frame that is looked at; where less than 200 ms follow, a frame is enough.
    """
    energy = np.square(frames[start:]).sum(axis=1)
    width = _QUIET if len(energy) >= _QUIET else 1
    windows = np.convolve(energy, np.ones(width), "valid")
    return start + len(windows) - 1 - int(np.argmin(windows[::-1])) + width // 2


def need_frames(frames: ArrayLike) -> None:
    """Refuse what is no frames (n, 640) with n of 1 or more."""
    shape = np.shape(frames)
    if len(shape) != 2 or shape[1] != FRAME or not shape[0]:
        raise Gemma4Error(
            "frames_malformed",
            "The frames have a wrong shape",
            f"Their shape is {shape}.",
            f"Give (n, {FRAME}) with n of 1 or more; `sound.frames` makes them.",
        )


def _scaled(array: NDArray[np.generic]) -> Samples:
    """Bring integers to [-1, 1] by their type's range; floats stay as they are."""
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if array.dtype in (np.int8, np.int16, np.int32):
        full_scale = 1 << (8 * array.dtype.itemsize - 1)
        return (array.astype(np.float64) / full_scale).astype(np.float32)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise Gemma4Error(
        "sound_malformed",
        "The sound has a wrong type",
        f"Its samples are {array.dtype}.",
        "Give floats from -1 to 1, or int16, int32, int8 or uint8.",
    )
