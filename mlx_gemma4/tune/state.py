"""What a run that was killed needs: the step, what is trained, and the optimizer's state.

One file, written beside and renamed: it is there whole or not at all. Everything else of a run
follows from its settings and lines, whose digest the file names.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from ..errors import Gemma4Error
from ..hub import disk
from .schedule import TuneSettings
from .sources import MEDIA, Line

FILE = "training.safetensors"

UNREADABLE = (RuntimeError, ValueError, KeyError, TypeError)
"""What MLX raises of a state that is damaged."""
_Loaded = tuple[dict[str, mx.array], dict[str, str]]


@dataclass(frozen=True)
class State:
    """After `step` steps: trees of what is trained, and of Adam's state."""

    step: int
    trained: Any
    optimizer: Any


@dataclass(frozen=True)
class Run:
    """What a run is, by which it is known again: equal runs end with the same weights."""

    settings: TuneSettings
    model: str
    lines: str


def digest(*sets: list[Line]) -> str:
    """A name for the content of checked lines, in their order, and the sizes of their media."""
    content = [[[dict(line.content), _sizes(line)] for line in lines] for lines in sets]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _sizes(line: Line) -> list[int]:
    media = (part for role, part in line.parts() if role != "tool" and part.get("type") in MEDIA)
    return [line.file(part["path"]).stat().st_size for part in media]


def save(folder: Path, state: State, run: Run) -> None:
    """Write the state.

    Raises:
        Gemma4Error: the disk is full; the former state is still there.
    """
    parts = {"trained": state.trained, "optimizer": state.optimizer}
    tensors: dict[str, mx.array] = dict(tree_flatten(parts))
    tensors["step"] = mx.array(state.step)
    making = folder / f"part-{FILE}"
    disk.need_space(folder, sum(value.nbytes for value in tensors.values()))
    with disk.explained():
        with making.open("wb") as file:
            mx.save_safetensors(file, tensors, metadata={"run": json.dumps(asdict(run))})
        making.replace(folder / FILE)


def need(folder: Path) -> Path:
    """Return the file of a folder; raise Gemma4Error where there is none."""
    path = folder / FILE
    if not path.is_file():
        raise Gemma4Error(
            "nothing_to_resume",
            "There is nothing to resume",
            f"{folder} has no {FILE}: no step was saved there, or the run ended.",
            "Start without --resume.",
        )
    return path


def load(folder: Path, run: Run) -> State:
    """Read the state of a run.

    Raises:
        Gemma4Error: there is none, or it is of another run; what differs is named.
    """
    path = need(folder)
    try:
        tensors, metadata = cast(_Loaded, mx.load(str(path), return_metadata=True))
        changed = _changed(json.loads(metadata["run"]), asdict(run))
        step = int(tensors.pop("step"))
        parts: Any = tree_unflatten(list(tensors.items()))
        state = State(step, parts["trained"], parts["optimizer"])
    except UNREADABLE as error:
        raise damaged(folder, error) from error
    if changed:
        raise Gemma4Error(
            "run_changed",
            "The run cannot be resumed",
            f"It was started with {changed}.",
            "Repeat that command with --resume, or choose another folder (-o).",
        )
    return state


def damaged(folder: Path, error: Exception) -> Gemma4Error:
    return Gemma4Error(
        "state_unreadable",
        "The run cannot be resumed",
        f"{need(folder)} is damaged ({error}).",
        "Start again in another folder (-o).",
    )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = (
        {**run["settings"], "model": run["model"], "lines": run["lines"]} for run in (before, now)
    )
    names = [name for name in old if old[name] != new.get(name)]
    return ", ".join("other data" if name == "lines" else f"{name} {old[name]}" for name in names)
