"""`--replay auto`: what the model answers before it is trained, so that it continues to answer so.

It is asked plain questions (prompts.toml): alone, about the pictures and sounds of the data and
those that ship with the program, and aloud about pictures (spoken/). A question that the data asks
in writing is left out, for there another answer is to be learned.
"""

import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..chat.tokenizer import CONTROLS
from ..errors import Gemma4Error
from ..events import Done, Token
from ..hub import catalog, disk
from ..model.gemma4 import Gemma4
from ..session.generate import stream_generate
from .schedule import TuneSettings
from .sources import Line

FILE = "replay.jsonl"
LEAST, MOST = 24, 256
"""Conversations that are drawn, by how many lines the data has."""
LONGEST = 128
"""Tokens of an answer; one that has not ended by then is not learned from."""
_PROMPTS = Path(__file__).with_name("prompts.toml")
_SPOKEN = Path(__file__).with_name("spoken")  # questions about pictures, named by their words

Part = dict[str, str]


def questions(model: Gemma4, lines: Sequence[Line], settings: TuneSettings) -> list[list[Part]]:
    """The questions to the model: as many of each kind as the data and the prompts allow."""
    rng = random.Random(settings.seed)
    prompts: Mapping[str, list[str]] = tomllib.loads(_PROMPTS.read_text("utf-8"))
    shipped = catalog.shipped("assets/demo")
    media: dict[str, list[str]] = {"image": [], "audio": []}
    for kind, suffix, able in (
        ("image", "png", model.config.vision_config),
        ("audio", "wav", model.config.audio_config),
    ):
        if able is not None:
            own = _paths(lines, kind)
            rng.shuffle(own)
            media[kind] = [*own[:MOST], *map(str, sorted(shipped.glob(f"[!.]*.{suffix}")))]
    asked = _texts(lines)
    made: dict[str, list[list[Part]]] = {"": [[_text(one)] for one in prompts["text"]]}
    for kind, paths in media.items():
        pairs = [
            _question({"type": kind, "path": path}, prompt)
            for path in paths
            for prompt in (*prompts[kind], *([""] if kind == "audio" else []))
            if _plain(prompt) not in asked
        ]
        made[kind] = rng.sample(pairs, min(MOST, len(pairs)))
    if media["audio"] and media["image"]:
        clips = sorted(_SPOKEN.glob("[!.]*"))
        spoken = [str(path) for path in clips if _plain(path.stem) not in asked]
        aloud = [{"type": "audio", "path": path} for path in spoken]
        pictures = [{"type": "image", "path": path} for path in media["image"]]
        count = MOST if aloud else 0
        made["audio image"] = [[rng.choice(pictures), rng.choice(aloud)] for _ in range(count)]
    wanted = round(len(lines) * settings.replay_share / (1 - settings.replay_share))
    return _in_turns(made, lines)[: min(MOST, max(LEAST, wanted))]


def draw(
    model: Gemma4, asked: Sequence[list[Part]], folder: Path, image_tokens: int | None
) -> Iterator[int]:
    """Write the model's own answers as a file of lines; yields how many questions are done.

    Raises:
        Gemma4Error: none of its answers can be learned, or the disk is full.
    """
    kept = []
    for number, question in enumerate(asked):
        yield number
        if answer := _answer(model, question, image_tokens):
            user = {"role": "user", "content": question}
            kept.append({"messages": [user, {"role": "assistant", "content": answer}]})
    if not kept:
        raise Gemma4Error(
            "replay_empty",
            "There is nothing to replay",
            f"None of {len(asked)} answers of the model ended within {LONGEST} tokens.",
            "Name a file of old tasks (--replay FILE).",
        )
    with disk.explained():
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        disk.write(folder / FILE, text.encode())
    yield len(asked)


def _answer(model: Gemma4, question: Sequence[Part], image_tokens: int | None) -> str:
    """The likeliest answer; empty where it has no end, or cannot be learned from."""

    def of(kind: str, key: str = "path") -> list[str]:
        return [part[key] for part in question if part["type"] == kind]

    text, reason = "", ""
    for event in stream_generate(
        model,
        "".join(of("text", "text")),
        of("image"),
        of("audio"),
        max_tokens=LONGEST,
        temperature=0.0,
        image_tokens=image_tokens,
        hearing="direct",
    ):
        if isinstance(event, Token):
            text += event.text
        elif isinstance(event, Done):
            reason = event.reason
    usable = reason == "stop" and not any(control in text for control in CONTROLS)
    return text.strip() if usable else ""


def _in_turns(made: Mapping[str, list[list[Part]]], lines: Sequence[Line]) -> list[list[Part]]:
    """Order the questions by media: half in turns, half by how often the data has them.

    What is close to the data is forgotten first.
    """
    kinds = ({str(part.get("type")) for _, part in _parts([line])} for line in lines)
    near = Counter(" ".join(sorted({"audio", "image"} & found)) for found in kinds)
    often = {kind: 1 / len(made) + near[kind] / len(lines) for kind in made}
    turns = sorted(
        ((number + 1) / often[kind], kind, number)
        for kind, questions in made.items()
        for number in range(len(questions))
    )
    return [made[kind][number] for _, kind, number in turns]


def _question(medium: Part, prompt: str) -> list[Part]:
    """A picture comes before its question, a sound after it, as the model expects."""
    parts = [medium, _text(prompt)] if prompt else [medium]
    return parts[::-1] if medium["type"] == "audio" else parts


def _text(prompt: str) -> Part:
    return {"type": "text", "text": prompt}


def _parts(lines: Sequence[Line]) -> Iterator[tuple[Line, Mapping[str, Any]]]:
    """The parts of all users' messages, each with its line."""
    for line in lines:
        yield from ((line, part) for role, part in line.parts() if role == "user")


def _paths(lines: Sequence[Line], kind: str) -> list[str]:
    found = (
        line.file(str(part.get("path"))) for line, part in _parts(lines) if part.get("type") == kind
    )
    return list(dict.fromkeys(str(path.resolve()) for path in found if path.is_file()))


def _texts(lines: Sequence[Line]) -> set[str]:
    return {
        _plain(str(part.get("text"))) for _, part in _parts(lines) if part.get("type") == "text"
    }


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()
