"""Which programs hold a model on this computer, and how much memory it takes: a file each.

The file of a program is locked as long as the program lives, however it ends: a file that nobody
has locked is an old one. Nothing here fails: without a folder to write to, nothing is known.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path

from ..hub import disk

PROGRAM = "GEMMA4_PROGRAM"
"""The variable by which a program names itself to a worker's process that it starts."""

_own: TextIOWrapper | None = None  # open and locked while this process holds a model


@dataclass(frozen=True)
class Holder:
    """A program that holds a model.

    Attributes:
        pid: of the program that a person started.
        program: its name, as "gemma4 serve".
        bytes: that the model takes, with the conversation.
    """

    pid: int
    program: str
    model: str
    bytes: int


def folder() -> Path:
    return disk.own_cache("held")


def program() -> tuple[int, str]:
    """The program that a person started: its id and its name."""
    pid, _, name = os.environ.get(PROGRAM, "").partition(" ")
    if pid.isdigit() and name:
        return int(pid), name
    return os.getpid(), " ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:2]])


@contextmanager
def alone() -> Iterator[None]:
    """Keep others from loading meanwhile: whoever looks and then loads does both in here."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder().mkdir(parents=True, exist_ok=True, mode=0o700)
            door = stack.enter_context((folder() / "door").open("a", encoding="utf-8"))
            fcntl.flock(door, fcntl.LOCK_EX)
        yield


def others() -> list[Holder]:
    """The other programs that hold a model; files of those that have ended are removed."""
    found = []
    for path in sorted(folder().glob("*.json")):
        if path.name == f"{os.getpid()}.json":
            continue
        with contextlib.suppress(OSError, ValueError, TypeError), path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(Holder(**json.load(file)))
            else:
                path.unlink()
    return found


def hold(model: str, size: int) -> None:
    """Note that this process holds a model of so many bytes, instead of what it held before."""
    global _own
    release()
    pid, name = program()
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder() / f"{os.getpid()}.json").open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump(asdict(Holder(pid, name, model, size)), file)
        file.flush()
        _own = file


def release() -> None:
    """Note that this process holds no model any more."""
    global _own
    if _own is not None:
        with contextlib.suppress(OSError):
            Path(_own.name).unlink()
        _own.close()
        _own = None
