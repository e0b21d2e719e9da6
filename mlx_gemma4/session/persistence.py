"""A conversation in a folder: session.json, the media that it names, and its parked rows.

    session.json        turns, pending turn and settings
    <sha256>.npz        a picture: uint8 patches and positions, by `Picture.digest`
    <sha256>.npy        a sound: float32 frames, by `SoundPart.digest`
    rows/               a `PrefixStore`: the rows of its cache

A file that is named by its content never changes, so writing one cannot harm what was saved before.
session.json is replaced last, in one step; what it no longer names is then removed.
"""

import hashlib
import io
import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..chat.messages import SoundPart, Turn
from ..errors import Gemma4Error
from ..hub import disk
from ..media.images import Picture
from .pending_turn import PendingTurn
from .prefix_cache import PrefixCache
from .prefix_store import UNFINISHED, PrefixStore, cleaned, locked, write
from .turn_json import Array, pending_from_json, pending_to_json, turn_from_json, turn_to_json

VERSION = 3
"""Of the format."""
ROWS = "rows"
"""The folder of the parked rows, and the name of their owner."""

_INDEX = "session.json"
_OURS = re.compile(rf"[0-9a-f]{{64}}\.(npy|npz|safetensors)|{UNFINISHED.pattern}")
_FINDERS = re.compile(r"\.DS_Store|\.localized|\._.*")  # what macOS leaves where it has looked


@dataclass(frozen=True, eq=False)
class SavedSession:
    """What is saved of a session, but for the cache."""

    turns: tuple[Turn, ...]
    pending: PendingTurn
    image_tokens: int
    thinking: bool
    tools: tuple[Any, ...] = ()


def save(folder: Path, state: SavedSession, cache: PrefixCache | None) -> None:
    """Save a state and what a cache holds of it; see `Session.save`.

    Files that are there already are not written again.
    """
    with disk.explained():
        _need_ours(folder)
    with disk.explained(), locked(folder):
        names: set[str] = set()

        def put(medium: Picture | SoundPart) -> str:
            name = f"{medium.digest}.{'npz' if isinstance(medium, Picture) else 'npy'}"
            if name not in names and not (folder / name).is_file():
                content = io.BytesIO()
                if isinstance(medium, Picture):
                    np.savez(content, patches=medium.patches, positions=medium.positions)
                else:
                    np.save(content, medium.frames, allow_pickle=False)
                write(folder / name, content.getbuffer())
            names.add(name)
            return name

        session: dict[str, Any] = {
            "image_tokens": state.image_tokens,
            "thinking": state.thinking,
            "tools": state.tools,
            "turns": [turn_to_json(turn, put) for turn in state.turns],
            "pending": pending_to_json(state.pending, put),
        }
        try:
            session = json.loads(json.dumps(session))  # as it is read again
        except (TypeError, ValueError, RecursionError) as error:
            cause = f"Tools or their results hold what is not JSON: {error}."
            raise _unsaved(cause, "Use text, numbers, lists and objects there.") from error
        text = _json({"version": VERSION, "sha256": _hash(session), "session": session}).encode()
        index = folder / _INDEX
        if not index.is_file() or index.read_bytes() != text:
            _sync(folder)  # the files that it names are there before it is
            write(index, text)
            _sync(folder)
        for path in _files(folder):
            if _OURS.fullmatch(path.name) and path.name not in names and path.is_file():
                path.unlink(missing_ok=True)
        if cache is not None and len(cache):
            PrefixStore(folder / ROWS).park(ROWS, cache)
        else:
            shutil.rmtree(folder / ROWS, ignore_errors=True)


def load(folder: Path) -> SavedSession:
    """Read a state. What a killed writer left beside it is removed, unless there is a writer now.

    Raises:
        Gemma4Error: there is none, it is damaged, or of another version.
    """
    index = folder / _INDEX
    try:
        content = index.read_bytes() if index.is_file() else None
    except OSError as error:
        raise _unreadable(f"{index}: {error.strerror}.", "Check its permissions.") from error
    if content is None:
        raise Gemma4Error(
            "saved_missing",
            "There is no saved conversation",
            f"There is no file {index}.",
            "Check the path.",
        )
    for place in (folder, folder / ROWS / ROWS):
        with suppress(OSError), cleaned(place):
            pass
    try:
        written = json.loads(content)
        version, session = written["version"], written["session"]
        if version == VERSION and written["sha256"] != _hash(session):
            raise ValueError("its checksum is wrong")
    except Exception as error:  # JSON can hold anything
        raise _damaged(index, error) from error
    if version != VERSION:
        raise _unreadable(
            f"Its format has version {version!r}, and this program reads version {VERSION}.",
            "Use the version of the program that saved it.",
        )
    try:
        get = partial(_read_medium, folder)
        return SavedSession(
            tuple(turn_from_json(turn, get) for turn in session["turns"]),
            pending_from_json(session["pending"], get),
            int(session["image_tokens"]),
            bool(session["thinking"]),
            tuple(session["tools"]),
        )
    except Exception as error:  # a damaged file makes numpy and zipfile raise nearly anything
        raise _damaged(folder, error) from error


def _read_medium(folder: Path, name: str) -> Array | Picture:
    path = folder / Path(name).name
    loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    medium: Array | Picture
    if isinstance(loaded, np.ndarray):
        if loaded.ndim != 2 or loaded.dtype != np.float32:
            raise ValueError(f"{name} holds {loaded.dtype} of shape {loaded.shape}")
        medium, found = loaded, hashlib.sha256(np.ascontiguousarray(loaded).data).hexdigest()
    else:
        patches, positions = loaded["patches"], loaded["positions"]
        if patches.dtype != np.uint8 or positions.shape != (len(patches), 2):
            raise ValueError(f"{name} holds no picture")
        medium = Picture(patches, positions, (0, 0), (0, 0))
        found = medium.digest
    if path.stem != found:
        raise ValueError(f"the checksum of {name} is wrong")
    return medium


def _hash(session: object) -> str:
    return hashlib.sha256(_json(session).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _need_ours(folder: Path) -> None:
    known = (_OURS, _FINDERS)
    strange = [p.name for p in _files(folder) if not any(one.fullmatch(p.name) for one in known)]
    if strange and not (folder / _INDEX).is_file():
        raise _unsaved(f"{folder} holds something else: {strange[0]}.", "Use another folder.")


def _files(folder: Path) -> list[Path]:
    if folder.exists() and not folder.is_dir():
        raise _unsaved(f"{folder} is a file.", "Use a folder.")
    ours = (_INDEX, ROWS)
    return [path for path in folder.iterdir() if path.name not in ours] if folder.exists() else []


def _unsaved(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("save_failed", "The conversation cannot be saved", cause, remedy)


def _unreadable(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("saved_unreadable", "The saved conversation cannot be read", cause, remedy)


def _damaged(path: Path, error: Exception) -> Gemma4Error:
    return Gemma4Error(
        "saved_damaged",
        "The saved conversation is damaged",
        f"{path} cannot be read ({type(error).__name__}: {error}).",
        "Restore the folder from a backup, or start a new conversation.",
    )
