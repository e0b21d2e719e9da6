"""One answer without a conversation to keep: `generate`, and `stream_generate` over messages."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..events import Event, Token
from ..generation.prefill_decode import Cancelled, Progress
from ..media.audio import RATE, Recording
from ..model.gemma4 import Gemma4
from . import openai_messages
from .pending_turn import listed
from .session import Session
from .transcriber import HearingMode

Media = Sequence[str | Path]


def generate(
    model: Gemma4,
    prompt: str,
    images: Sequence[Any] = (),
    audio: Media = (),
    videos: Media = (),
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    system: str | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    image_tokens: int | None = None,
    hearing: HearingMode = "auto",
    kv_bits: int | None = None,
    thinking: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    grammar: Mapping[str, Any] | None = None,
) -> str:
    """Answer a question about pictures, sounds and videos; return the text, without thoughts.

    Args:
        prompt: what is asked; it may be empty where a sound asks.
        images: files, Pillow images or arrays (`Session.add_image`).
        audio: sound files, each of at most 30 seconds.
        videos: video files.
        max_tokens: the most tokens to answer; None for what fits.
        temperature: as in `Session.reply`; so are the next three and the last three.
        system: as in `Session`; so are the others.

    Raises:
        Gemma4Error: something cannot be read or is longer than the context, or a setting is wrong.
    """
    events = stream_generate(
        model, prompt, images, audio, videos, max_tokens, temperature, top_p, top_k, seed, system,
        tools, image_tokens, hearing, kv_bits, thinking, progress, cancelled, grammar,
    )  # fmt: skip
    return "".join(event.text for event in events if isinstance(event, Token))


def stream_generate(
    model: Gemma4,
    messages: str | Sequence[Mapping[str, Any]],
    images: Sequence[Any] = (),
    audio: Media = (),
    videos: Media = (),
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    system: str | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    image_tokens: int | None = None,
    hearing: HearingMode = "auto",
    kv_bits: int | None = None,
    thinking: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    grammar: Mapping[str, Any] | None = None,
) -> Generator[Event]:
    """Answer messages, or a question; the work is done while the events are read.

    Args:
        model: from `load`.
        messages: a question, or messages as in OpenAI's chat completions. Their content is text or
            a list of parts: {"type": "text"}, {"type": "image_url"} with a data URI or a path, and
            {"type": "input_audio"} with base64. The last are from "user" or "tool".
        images: as in `generate`, beside the last message's own; so are `audio` and `videos`.
        audio: see `images`.
        videos: see `images`.
        max_tokens: the most tokens to answer; None for what fits.
        temperature: as in `Session.reply`; so are the next three and the last three.
        system: as in `Session`; so are the others.

    Returns:
        The events of `Session.reply`: the last is `Done`.

    Raises:
        Gemma4Error: as `generate`, or a message is malformed.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    before, asked = openai_messages.split(messages)
    turns = openai_messages.turns(before, image_tokens or model.config.image_tokens)
    session = Session(model, system, turns, tools, image_tokens, hearing, kv_bits, thinking)
    for message in asked:
        _add(session, message)
    for image in listed("images", images):
        session.add_image(image)
    for path in listed("audio", audio):
        session.add_audio(path)
    for path in listed("videos", videos):
        session.add_video(path)
    yield from session.reply(
        max_tokens, temperature, top_p, top_k, seed, progress, cancelled, grammar=grammar
    )


def _add(session: Session, message: Mapping[str, Any]) -> None:
    pieces = openai_messages.content(message)
    if message["role"] == "tool":
        session.add_tool_result(str(message.get("tool_call_id", "")), pieces)
        return
    for piece in pieces:
        if isinstance(piece, str):
            session.add_text(piece)
        elif isinstance(piece, Recording):
            session.add_audio(piece.samples, RATE)
        else:
            session.add_image(piece)
