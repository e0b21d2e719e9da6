"""Where the program keeps its own files, and room on a disk: asked for before something is written,
and explained when it has run out.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import platformdirs

from ..errors import Gemma4Error

_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EFBIG, errno.EIO),
    errno.ENAMETOOLONG,
)
SPARE = 256 * 1024**2
"""Bytes that a disk keeps free."""
PRIVATE = 0o600
"""The mode of files that nobody but their user reads."""


def own_data(name: str) -> Path:
    """Where something is kept for the user: a file or folder that may not be there yet."""
    return platformdirs.user_data_path("mlx-gemma4", appauthor=False) / name


def own_cache(name: str) -> Path:
    """As `own_data`, for what can be made again."""
    return platformdirs.user_cache_path("mlx-gemma4", appauthor=False) / name


def expanded(name: str | Path) -> Path:
    """The path of a name; a ~ stays where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def free(folder: Path) -> int:
    """Bytes that are free for a folder that may not be there yet."""
    return shutil.disk_usage(_there(folder)).free


def need_space(folder: Path, size: int) -> None:
    """Raise Gemma4Error where a folder, which may not be there yet, has no room for so much."""
    need_writable(folder)
    room = free(folder)
    if size + SPARE > room:
        raise Gemma4Error(
            "disk_too_small",
            "The disk is too small",
            f"{words(size)} have to go to {folder}, {words(room)} are free there, "
            f"and {words(SPARE)} have to stay free.",
            "Make room, or choose another disk (--to or -o for a folder, HF_HOME for the cache).",
        )


def need_writable(folder: Path) -> None:
    """Raise Gemma4Error where a folder, which may not be there yet, cannot be written."""
    there = _there(folder)
    if not there.is_dir():
        raise _unwritable(f"{there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(f"{there}: this account may not write there, or the disk is read-only.")


def _there(folder: Path) -> Path:
    """A folder, or the nearest above it that is there."""
    with explained():  # of one that may not be entered, or of a name that is too long
        return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _unwritable(cause: str) -> Gemma4Error:
    return Gemma4Error(
        "folder_unwritable",
        "The folder cannot be written",
        cause,
        "Free it for writing, or choose another (--to or -o for a folder, HF_HOME for the cache).",
    )


def words(size: int) -> str:
    """Write bytes for people: 7.07 GB, 3.10 MB."""
    return f"{size / 1e6:.2f} MB" if size < 1e8 else f"{size / 1e9:.2f} GB"


def write(
    path: Path,
    content: bytes | memoryview,
    making: Path | None = None,
    mode: int = 0o666,
    sync: bool = True,
) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens.

    Args:
        making: what it is called until it is whole; None for its name with ".part".
        mode: PRIVATE for what was said or shown.
        sync: not at all after a power cut, too: this waits for the disk.
    """
    making = making or path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            if mode == PRIVATE:  # a killed program may have left it, for everybody to read
                os.fchmod(file.fileno(), mode)
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        making.replace(path)
    except OSError:
        making.unlink(missing_ok=True)
        raise


def make_private(folder: Path) -> None:
    """Make a folder, and what is missing above it; one that is there is made private."""
    for missing in [one for one in (folder, *folder.parents) if not one.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)
    restrict(folder)


def restrict(path: Path) -> None:
    """Take away others' access to a file or folder; one of somebody else stays as it is."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)
    except OSError:
        return


def save(path: Path, content: bytes) -> None:
    """Write a small file and the folder that it is in, or raise Gemma4Error."""
    with explained():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)


def claim(file: IO[Any], path: Path) -> None:
    """Lock an open file while a path is written, or raise: another program has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Gemma4Error(
            "download_running",
            "The download is running already",
            f"Another program writes {path}.",
            "Wait for it, or end it: what came so far is kept.",
        ) from error


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a disk refuses while it is written into an error with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            what = f"{error.filename or 'While it was written'}: {error.strerror}"
            limit = " FAT32 holds up to 4 GB a file." if error.errno == errno.EFBIG else ""
            raise _unwritable(f"{what}.{limit} What is done is kept.") from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Gemma4Error(
            "disk_full",
            "The disk is full",
            "It takes no more, though there was room at the start.",
            "Make room, and run it again: what is done is kept.",
        ) from error
