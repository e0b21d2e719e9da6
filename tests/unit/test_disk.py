"""The sizes in what is reported of a disk are those that were compared."""

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
