"""Files and folders that nobody but their user reads: what was said and shown is in them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_gemma4.errors import Gemma4Error

FOLDER, FILE = 0o700, 0o600
NEW = f".{os.getpid()}.new"
"""What the names of files end with while this program writes them."""


def make_folder(path: Path) -> None:
    """Make a folder, and what is missing above it; one that is there is made private."""
    for missing in [one for one in (path, *path.parents) if not one.exists()][::-1]:
        missing.mkdir(mode=FOLDER, exist_ok=True)
    restrict(path)


@contextmanager
def program_folders(*folders: Path) -> Iterator[None]:
    """Make the program's folders; for writing there in the `with` block.

    Raises:
        Gemma4Error: a folder cannot be made, or the block raised an OSError.
    """
    try:
        for folder in folders:
            make_folder(folder)
        yield
    except OSError as error:
        raise Gemma4Error(
            "folder_unwritable",
            "The program has nowhere to write",
            f"{error.filename or folders[0]}: {error.strerror or error}.",
            "Free that folder for writing, or set XDG_CONFIG_HOME and XDG_DATA_HOME to others.",
        ) from error


def write(path: Path, content: bytes, sync: bool = False) -> None:
    """Write a file so that it is there whole or not at all; with `sync` after a power cut, too."""
    new = path.with_name(path.name + NEW)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE), "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def restrict(path: Path) -> None:
    """Take away others' access to a file or folder; one of somebody else stays as it is."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)
    except OSError:
        return
