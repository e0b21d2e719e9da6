"""Damaged files of every kind: an answer or a `Gemma4Error` that names the file, nothing else.

The seed is fixed, so that every run tries the same damage. A kind of file is one entry of `KINDS`.
"""

import io
import json
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from app.conversation.entries import QuestionSent, TurnEnded, TurnStarted
from app.conversation.history import History
from app.conversation.journal import Journal
from app.conversation.store import ConversationStore
from app.devices.files import kind as kind_of_file
from mlx_gemma4.chat.checkpoint_template import findings
from mlx_gemma4.chat.messages import TextPart, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Thought, ToolCall
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.media.audio import read_sound, seconds_of
from mlx_gemma4.media.images import patches
from mlx_gemma4.media.video import frames_of
from mlx_gemma4.session import persistence
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tiny_model, tones
from tests.unit.checkpoints import publish
from tests.unit.small_tokenizer import media_config, small_backend, small_tokenizer

SEED = 4
FIXTURES = Path(__file__).parents[1] / "fixtures"
ODD = [None, True, 0, -1, 2**63, 10**400, 1e308, "", "x", "../x", "\ud800", [], [[]], {}, [1] * 99]


@dataclass(frozen=True)
class Kind:
    """Files of one kind: how they are made in a folder, what reads it, how often it is damaged."""

    make: Callable[[Path], None]
    use: Callable[[Path], object]
    times: int


def model_folder(folder: Path) -> None:
    save_folder(tiny_model(), folder)
    (folder / "processor_config.json").write_text('{"image_processor": {"max_soft_tokens": 70}}')


def shards(folder: Path) -> None:
    publish(folder, 2)


def pictures(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    for suffix in ("png", "jpg", "webp", "gif", "tiff", "avif", "bmp", "jp2", "ico", "ppm"):
        Image.fromarray(noise).save(folder / f"a.{suffix}")


def sounds(folder: Path) -> None:
    samples = tones([440], 0.3)
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.caf"):
        soundfile.write(folder / name, samples, 16_000)
    content = (folder / "a.ogg").read_bytes()
    (folder / "joined.ogg").write_bytes(content + content)


def videos(folder: Path) -> None:
    av = pytest.importorskip("av")
    for name, codec in (("a.mp4", "mpeg4"), ("a.mkv", "mpeg4")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for level in range(6):
                pixels = np.full((48, 64, 3), level * 40, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())


def tokenizers(folder: Path) -> None:
    small_backend().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}<|turn>"}')


def templates(folder: Path) -> None:
    shutil.copy(FIXTURES / "gemma4_chat_template.jinja", folder / "chat_template.jinja")


def saved(folder: Path) -> None:
    session = Session(tiny_model(), tokenizer=small_tokenizer(), image_tokens=70)
    session.add_text("hello")
    session.add_image(np.zeros((48, 48, 3), np.uint8))
    session.save(folder)


def journal(folder: Path) -> None:
    with Journal(folder / "talk") as written:
        for entry in (TurnStarted(1, "user", 1.0), QuestionSent(1, "hello"), TurnEnded(1, "done")):
            written.append(entry)


def use_model(folder: Path) -> None:
    load_folder(folder)
    Folder(folder)


def use_template(folder: Path) -> None:
    turns = [Turn("user", (TextPart("hi"),))]
    source = (folder / "chat_template.jinja").read_text(errors="replace")
    findings(source)
    render(turns, small_tokenizer(), media_config(), template=source)


def use_saved(folder: Path) -> None:
    Session.restore(MODEL, folder, tokenizer=small_tokenizer())


def saved_turns(folder: Path) -> None:
    """Every kind of part, in turns and in the pending one."""
    picture = (np.arange(48 * 48 * 3) % 256).astype(np.uint8).reshape(48, 48, 3)
    session = Session(tiny_model(), "be brief", tokenizer=small_tokenizer(), image_tokens=70,
                      tools=[{"type": "function", "function": {"name": "find"}}])  # fmt: skip
    session.add_image(picture)
    session.add_video([(0.0, picture), (1.5, picture)])
    session.add_audio(tones([440], 0.5), 16_000)
    call = ToolCall("1", "find", {"what": ["a", {"b": 1.5}], "n": None})
    turns = [*session.turns, Turn("user", session._conversation.pending.parts)]
    turns += [Turn("model", (Thought("hm"), TextPart("wait"), call))]
    session.open(turns)
    session.add_tool_result("1", {"found": [1, "x"]})
    session.add_text("and?")
    session.hear(np.zeros((3, 640), np.float32))
    session.save(folder, cache=False)


def use_turns(folder: Path) -> None:
    session = Session.restore(MODEL, folder, tokenizer=small_tokenizer())
    session.add_text("so?")
    for _ in session.reply(2, temperature=0.0):
        pass
    session.save(folder)


def use_journal(folder: Path) -> None:
    store = ConversationStore(folder)
    for one in store.list():
        with store.open(one.id) as opened:
            History(opened.entries())


def each(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Read the file that was damaged."""
    return lambda folder: [read(path) for path in folder.glob("damaged*")]


def use_sound(path: Path) -> None:
    seconds_of(path)
    read_sound(path)


MODEL = tiny_model()
KINDS = {
    "model folder": Kind(model_folder, use_model, 150),
    "shards": Kind(shards, use_model, 120),
    "picture": Kind(pictures, each(lambda path: (kind_of_file(path), patches(path, 70))), 250),
    "sound": Kind(sounds, each(use_sound), 250),
    "video": Kind(videos, each(lambda path: list(frames_of(path))), 60),
    "tokenizer": Kind(tokenizers, Tokenizer.from_folder, 100),
    "template": Kind(templates, use_template, 80),
    "saved session": Kind(saved, use_saved, 80),
    "saved turns": Kind(saved_turns, use_turns, 30),
    "journal": Kind(journal, use_journal, 80),
}


def test_there_are_a_thousand_mutations() -> None:
    assert sum(kind.times for kind in KINDS.values()) >= 1000


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Another content: cut, flipped, blanked, filled, or as JSON with an odd value."""
    data = bytearray(content)
    at = chance.randrange(len(data) + 1)
    match chance.randrange(6):
        case 0:
            return bytes(data[:at])
        case 1:
            for _ in range(chance.choice((1, 3, 30))):
                data[chance.randrange(len(data))] = chance.randrange(256)
        case 2:
            data[at : at + chance.choice((4, 64))] = bytes(4)
        case 3:
            data[at:at] = chance.randbytes(chance.choice((1, 8, 500)))
        case 4:  # near the start, where headers are
            data[chance.randrange(min(64, len(data)))] = chance.choice((0, 1, 127, 255))
        case 5:
            return odd_json(content, chance)
    return bytes(data)


def odd_json(content: bytes, chance: random.Random) -> bytes:
    """JSON, or lines of it, with a value replaced; else some other content."""
    lines = content.split(b"\n") if content.count(b"\n{") else [content]
    place = chance.randrange(len(lines))
    try:
        value: Any = json.loads(lines[place])
    except ValueError:
        return chance.choice((b"", b"\0" * 100, b"[" * 5000, b"{}", b"<html>", b"\xff\xfe"))
    if not isinstance(value, dict | list) or not value:
        lines[place] = json.dumps(chance.choice(ODD)).encode()
        return b"\n".join(lines)
    inner: Any = value
    while True:
        key = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if isinstance(inner[key], dict | list) and inner[key] and chance.random() < 0.7:
            inner = inner[key]
        else:
            break
    inner[key] = chance.choice(ODD)
    lines[place] = json.dumps(value).encode()
    return b"\n".join(lines)


def behind_the_checksum(content: bytes, chance: random.Random) -> bytes:
    """A saved session with an odd value, whose checksum is right."""
    written = json.loads(content)
    session = json.loads(odd_json(json.dumps(written["session"]).encode(), chance))
    return json.dumps(
        {**written, "session": session, "sha256": persistence._hash(session)}
    ).encode()


@pytest.mark.parametrize("name", KINDS)
def test_whatever_a_file_holds_is_an_answer_or_an_error_that_names_it(
    name: str, tmp_path: Path
) -> None:
    kind = KINDS[name]
    whole = tmp_path / "whole"
    whole.mkdir()
    kind.make(whole)
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    if name == "saved turns":  # media have a digest as their name
        files = [whole / "session.json"]
    chance = random.Random(f"{SEED} {name}")
    raw: list[str] = []
    for number in range(kind.times):
        file = files[number % len(files)]
        folder = tmp_path / "copy"
        shutil.copytree(whole, folder)
        place = folder / file.relative_to(whole)
        damage = behind_the_checksum if name == "saved turns" else damaged
        place.write_bytes(damage(file.read_bytes(), chance))
        if name in ("picture", "sound", "video"):
            place.rename(folder / f"damaged{file.suffix}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind.use(folder)
        except Gemma4Error as error:
            if not (error.title and error.cause and error.remedy and error.code):
                raw.append(f"{number} {file.name}: says too little: {error}")
            if name in ("picture", "sound", "video") and "damaged" not in error.title:
                raw.append(f"{number} {file.name}: does not name the file: {error}")
        except Exception as error:  # noqa: BLE001
            raw.append(f"{number} {file.name}: {type(error).__name__}: {error}"[:300])
        shutil.rmtree(folder)
    assert not raw, "\n".join(raw)


def test_the_damage_is_the_same_in_every_run() -> None:
    content = io.BytesIO(bytes(range(256))).getvalue()
    one, other = random.Random("4 picture"), random.Random("4 picture")
    assert [damaged(content, one) for _ in range(50)] == [
        damaged(content, other) for _ in range(50)
    ]
