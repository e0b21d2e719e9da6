"""The sizes in what is reported of a disk are those that were compared."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk


@pytest.mark.parametrize(
    ("size", "free", "words"),
    [
        (690_000, 90_000_000, "0.69 MB have to go to {}, 90.00 MB are free there"),
        (7_100_000_000, 300_000_000, "7.10 GB have to go to {}, 0.30 GB are free there"),
    ],
)
def test_a_disk_that_is_too_small_shows_what_is_needed_free_and_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, free: int, words: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(Gemma4Error) as raised:
        disk.need_space(tmp_path, size)
    assert raised.value.code == "disk_too_small"
    assert raised.value.cause == f"{words.format(tmp_path)}, and 0.27 GB have to stay free."


def test_what_fits_beside_the_spare_bytes_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=disk.SPARE + 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    disk.need_space(tmp_path, 5)
    with pytest.raises(Gemma4Error):
        disk.need_space(tmp_path, 6)


def test_where_nothing_can_be_written_is_found_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Gemma4Error, match="file is a file") as raised:
        disk.need_space(tmp_path / "file" / "below", 1)
    assert raised.value.code == "folder_unwritable"
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Gemma4Error, match="this account may not write there"):
        disk.need_space(tmp_path / "new", 1)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, "disk_full", "there was room at the start"),
        (errno.EROFS, "folder_unwritable", "a.safetensors: Read-only file system."),
        (errno.EFBIG, "folder_unwritable", "FAT32 holds up to 4 GB a file"),
    ],
)
def test_what_a_disk_refuses_is_one_error_with_its_cause(
    number: int, code: str, words: str
) -> None:
    with pytest.raises(Gemma4Error, match=words) as raised, disk.explained():
        raise OSError(number, os.strerror(number), "a.safetensors")
    assert raised.value.code == code


def test_what_is_no_matter_of_the_disk_stays_as_it_is() -> None:
    with pytest.raises(FileNotFoundError), disk.explained():
        raise FileNotFoundError(errno.ENOENT, "gone")
