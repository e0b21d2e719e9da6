"""A conversation in a folder: session.json, and beside it files that are named by their content.

    session.json              turns, draft and settings; names the others
    <sha256>.npy              patches of a picture, or frames of a sound, as the model took them;
                              uint8 stands for float32 of these values / 255
    <sha256>.safetensors      rows of the cache

A file whose name is the hash of its content never changes, so writing one cannot harm what was
saved before. session.json is replaced last, in one step; what it no longer names is then removed.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..chat.messages import Turn
from ..chat.render import Prompt
from ..checkpoint.safetensors import read_header
from ..errors import Gemma4Error
from ..hub import disk
from ..model.gemma4 import Gemma4
from .pending_turn import Draft
from .prefix_cache import Timeline
from .turn_json import Array, draft_from_json, draft_to_json, turn_from_json, turn_to_json

VERSION = 2
"""Of the format. Version 1, which is read too, had no uint8; any other is refused."""

_INDEX = "session.json"
_OURS = re.compile(r"[0-9a-f]{64}\.(npy|safetensors)|new\.(json|npy|safetensors)")
_SAMPLE = 16  # values of each tensor, which tell models of one shape apart


@dataclass(frozen=True, eq=False)
class State:
    """What is saved of a session, but for the cache."""

    turns: tuple[Turn, ...]
    draft: Draft
    image_tokens: int
    thinking: bool


@dataclass(frozen=True)
class Rows:
    """Where rows of a cache are: the file, how many, of which tokens, and computed how."""

    file: str
    count: int
    tokens: str
    kind: str


def save(
    folder: Path,
    model: Gemma4,
    state: State,
    timeline: Timeline | None,
    prompt: Prompt,
) -> None:
    """Save a state; see `Session.save`.

    Args:
        folder: where.
        model: whose conversation it is.
        state: what to save.
        timeline: whose rows to save too; it holds the prompt and nothing else.
        prompt: of the state, as far as it stands.
    """
    strange = [path.name for path in _files(folder) if not _OURS.fullmatch(path.name)]
    if strange and not (folder / _INDEX).is_file():
        raise Gemma4Error(
            "save_failed",
            "The conversation cannot be saved",
            f"{folder} holds something else: {strange[0]}.",
            "Give another folder.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()

    def put(array: Array) -> str:
        content = io.BytesIO()
        np.save(content, packed(array), allow_pickle=False)
        name = f"{hashlib.sha256(content.getbuffer()).hexdigest()}.npy"
        if name not in names and not (folder / name).is_file():
            _write(folder / "new.npy", content.getbuffer())
            (folder / "new.npy").replace(folder / name)
        names.add(name)
        return name

    with disk.explained():
        session: dict[str, Any] = {
            "model": fingerprint(model),
            "image_tokens": state.image_tokens,
            "thinking": state.thinking,
            "turns": [turn_to_json(turn, put) for turn in state.turns],
            "draft": draft_to_json(state.draft, put),
            "cache": None,
        }
        if timeline is not None and len(timeline):
            name = _write_rows(folder, timeline)
            names.add(name)
            tokens = _hash_of_tokens(prompt, len(timeline))
            session["cache"] = vars(Rows(name, len(timeline), tokens, _kind(model, timeline)))
        text = _json({"version": VERSION, "sha256": _hash(session), "session": session})
        _write(folder / "new.json", text.encode())
        _sync(folder)  # the files that it names are there before it is
        (folder / "new.json").replace(folder / _INDEX)
        _sync(folder)
    for path in _files(folder):
        if _OURS.fullmatch(path.name) and path.name not in names:
            path.unlink(missing_ok=True)


def load(folder: Path, model: Gemma4) -> tuple[State, Rows | None]:
    """Read a state, and where the rows of its cache are.

    Raises:
        Gemma4Error: there is none, it is damaged, of another version or another model's.
    """
    index = folder / _INDEX
    if not index.is_file():
        raise Gemma4Error(
            "saved_missing",
            "There is no saved conversation",
            f"There is no file {index}.",
            "Check the path.",
        )
    try:
        written = json.loads(index.read_text("utf-8"))
        version, session = written["version"], written["session"]
        known = version in (1, VERSION)
        if known and written["sha256"] != _hash(session):
            raise ValueError("its checksum is wrong")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(index, error) from error
    if not known:
        raise Gemma4Error(
            "saved_unreadable",
            "The saved conversation cannot be read",
            f"Its format has version {version!r}, and this program reads version {VERSION}.",
            "Use the version of the program that saved it.",
        )
    if session["model"] != fingerprint(model):
        raise Gemma4Error(
            "saved_of_other_model",
            "The saved conversation is another model's",
            f"{folder} was saved with other weights than those that are loaded now.",
            "Load the model that it was saved with.",
        )

    def get(name: str) -> Array:
        content = (folder / name).read_bytes()
        if name != f"{hashlib.sha256(content).hexdigest()}.npy":
            raise ValueError(f"the checksum of {name} is wrong")
        return unpacked(np.load(io.BytesIO(content), allow_pickle=False))

    try:
        state = State(
            tuple(turn_from_json(turn, get) for turn in session["turns"]),
            draft_from_json(session["draft"], get),
            int(session["image_tokens"]),
            bool(session["thinking"]),
        )
        return state, Rows(**session["cache"]) if session["cache"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def load_rows(
    folder: Path,
    rows: Rows,
    model: Gemma4,
    timeline: Timeline,
    prompt: Prompt,
    turns: Sequence[Turn],
) -> bool:
    """Make a timeline hold the saved rows of this prompt; False where they are of no use.

    They are of no use if the file is missing or damaged, the conversation is tokenized otherwise
    now, or the cache is of another kind.
    """
    path = folder / rows.file
    if rows.kind != _kind(model, timeline) or rows.tokens != _hash_of_tokens(prompt, rows.count):
        return False
    if not path.is_file() or rows.file != f"{_hash_of_file(path)}.safetensors":
        return False
    tensors = mx.load(str(path))
    assert isinstance(tensors, dict)
    mx.eval(tensors)  # the file may be removed by the next save
    timeline.fill(tensors, prompt, turns, rows.count)
    return True


def fingerprint(model: Gemma4) -> str:
    """Tell a model by its shape and some values of each of its tensors."""
    config = model.config
    digest = hashlib.sha256(
        repr((config.text_config, config.vision_config, config.audio_config)).encode()
    )
    for name, tensor in sorted(model.tensors().items()):
        values = tensor.reshape(-1)[:_SAMPLE].astype(mx.float32)
        digest.update(f"{name} {tensor.shape}".encode() + np.array(values).tobytes())
    return digest.hexdigest()


def packed(array: Array) -> Array:
    """Give float32 as uint8 where `unpacked` makes the same bits of it; any other as it is.

    That is so of every picture: `images.patches` divides 8-bit levels by 255.
    """
    levels = np.clip(array * 255 + 0.5, 0, 255).astype(np.uint8)
    same = np.array_equal(unpacked(levels).view(np.uint32), array.view(np.uint32))
    return levels if same else array


def unpacked(array: Array) -> Array:
    """Undo `packed`."""
    return array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array


def _write_rows(folder: Path, timeline: Timeline) -> str:
    making = folder / "new.safetensors"
    disk.need_space(folder, timeline.nbytes)
    mx.save_safetensors(str(making), timeline.tensors())
    read_header(making)  # an error if it is not whole, which MLX would not notice
    with making.open("rb") as file:
        os.fsync(file.fileno())
    name = f"{_hash_of_file(making)}.safetensors"
    making.replace(folder / name)
    return name


def _kind(model: Gemma4, timeline: Timeline) -> str:
    """What rows depend on besides the model and the tokens."""
    dtype = model.tensors()["language_model.model.norm.weight"].dtype
    return f"{model.mask_rule} {model.layout} {timeline.kv_bits} {dtype}"


def _hash_of_tokens(prompt: Prompt, count: int) -> str:
    return hashlib.sha256(np.array(prompt.token_ids[:count], np.int64).tobytes()).hexdigest()


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(session: object) -> str:
    return hashlib.sha256(_json(session).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _write(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    if folder.exists() and not folder.is_dir():
        raise Gemma4Error(
            "save_failed",
            "The conversation cannot be saved",
            f"{folder} is a file.",
            "Give a folder.",
        )
    return [path for path in folder.iterdir() if path.name != _INDEX] if folder.exists() else []


def _damaged(path: Path, error: Exception) -> Gemma4Error:
    return Gemma4Error(
        "saved_damaged",
        "The saved conversation is damaged",
        f"{path} cannot be read ({type(error).__name__}: {error}).",
        "Restore the folder from a backup, or start a new conversation.",
    )
