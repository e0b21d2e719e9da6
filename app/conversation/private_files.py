"""Files and folders that nobody but their user reads: what was said and shown is in them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk

NEW = f".{os.getpid()}.new"
"""What the names of files end with while this program writes them."""


@contextmanager
def program_folders(*folders: Path) -> Iterator[None]:
    """Make the program's folders; for writing there in the `with` block.

    Raises:
        Gemma4Error: a folder cannot be made, or the block raised an OSError.
    """
    try:
        for folder in folders:
            disk.make_private(folder)
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
    disk.write(path, content, path.with_name(path.name + NEW), disk.PRIVATE, sync)
