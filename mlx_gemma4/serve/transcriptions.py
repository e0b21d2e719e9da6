"""OpenAI's transcriptions: a form -> what to transcribe, and texts -> JSON.

https://platform.openai.com/docs/api-reference/audio/createTranscription. The model hears one clip
after another, each by itself, since it hears badly what is late in its context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error
from ..media.audio import FRAME, LIMIT_SECONDS, RATE, clips, frames
from . import fields
from .errors import ApiError
from .media import samples_of
from .request_fields import TRANSCRIPTIONS

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
INSTRUCTION_TOKENS = 100
"""Kept free before the sound: the instruction to transcribe has fewer."""


@dataclass(frozen=True, eq=False)
class TranscriptionRequest:
    """A sound to be transcribed.

    Attributes:
        content: the file's bytes.
        form: the answer's format, one of FORMATS.
        language: the language that is spoken, or empty.
        temperature: with which the transcript is drawn.
    """

    content: bytes
    form: str
    language: str
    temperature: float


@dataclass(frozen=True)
class Segment:
    """What was heard from one time to another, in seconds."""

    start: float
    end: float
    text: str


def parse(form: Sequence[tuple[str, str]], content: bytes | None) -> TranscriptionRequest:
    """Read the fields of a form, in order, without the file.

    Raises:
        ApiError: a field asks for something unsupported, or there is no file.
    """
    if not content:
        raise ApiError(400, "There is no sound; send a file.", "invalid_value", "file")
    given = {name.removesuffix("[]"): value for name, value in form}
    TRANSCRIPTIONS.check(given)
    shape = given.get("response_format") or "json"
    if shape not in FORMATS:
        raise fields.wrong("response_format", f"must be one of {', '.join(FORMATS)}")
    if given.get("stream", "").lower() in ("true", "1"):
        raise fields.unsupported("stream")
    if ("timestamp_granularities", "word") in [(name.removesuffix("[]"), v) for name, v in form]:
        param = "timestamp_granularities[]"
        raise ApiError(400, "Only segments have times.", "unsupported_parameter", param)
    try:
        temperature = float(given.get("temperature") or 0)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 2:
        raise fields.wrong("temperature", "must be a number from 0 to 2")
    return TranscriptionRequest(content, shape, given.get("language") or "", temperature)


def clips_of(content: bytes, safe: int | None) -> list[NDArray[np.float32]]:
    """Cut the sound into clips that the model hears well: (n, 640) frames each.

    Args:
        safe: the position of the context past which the model hears badly, or None.

    Raises:
        ApiError: it cannot be read.
    """
    try:
        samples = samples_of(content, "file")
    except Gemma4Error as error:
        message = f"{error.title}. {error.cause} {error.remedy}"
        raise ApiError(400, message, error.code, "file") from error
    most = LIMIT_SECONDS
    if safe is not None:
        most = min(most, max(safe - INSTRUCTION_TOKENS, 50) * FRAME / RATE)
    return [frames(clip) for clip in clips(samples, most, "split") if len(clip)]


def answer(request: TranscriptionRequest, segments: Sequence[Segment]) -> dict[str, Any] | str:
    """Return the transcript in the format that was asked for: JSON, or a text."""
    text = " ".join(one.text for one in segments if one.text)
    duration = segments[-1].end if segments else 0.0
    match request.form:
        case "text":
            return f"{text}\n"
        case "srt":
            lines = [f"{n}\n{_titled(one, ',')}" for n, one in enumerate(segments, 1)]
            return "\n".join(lines)
        case "vtt":
            return "\n".join(["WEBVTT\n", *(_titled(one, ".") for one in segments)])
        case "verbose_json":
            return {
                "task": "transcribe",
                "language": request.language,
                "duration": duration,
                "text": text,
                "segments": [_segment(n, one, request) for n, one in enumerate(segments)],
            }
    return {"text": text, "usage": {"type": "duration", "seconds": round(duration, 2)}}


def _segment(number: int, segment: Segment, request: TranscriptionRequest) -> dict[str, Any]:
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": request.temperature,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _titled(segment: Segment, point: str) -> str:
    """Write a segment as a subtitle."""
    return f"{_time(segment.start, point)} --> {_time(segment.end, point)}\n{segment.text}\n"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
