"""Pictures in HEIC: a Mac opens them by its own program, others by an extra."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageFile

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import open_image
from tests.unit.stand_ins import stand_in


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def test_a_mac_opens_heic_by_its_own_sips(mac: Path, tmp_path: Path) -> None:
    Image.new("RGB", (96, 48), (200, 100, 50)).save("answer.jpg")
    answer = Path("answer.jpg").resolve()
    stand_in(mac, "sips", f'echo "$@" > {tmp_path}/arguments; cp {answer} "$6"')
    Path("IMG_0001.HEIC").write_bytes(HEIC)
    image = open_image("IMG_0001.HEIC")
    assert image.size == (96, 48)
    assert np.abs(np.subtract(image.getpixel((9, 9)), (200, 100, 50))).max() <= 4
    assert (tmp_path / "arguments").read_text().startswith("-s format jpeg /")
    assert not list(tmp_path.glob("gemma4-*"))  # nothing is left


def test_what_sips_cannot_open_is_named(mac: Path, tmp_path: Path) -> None:
    stand_in(mac, "sips", "echo Error 13: an unknown error; exit 13")
    with pytest.raises(Gemma4Error, match="sips cannot open it .Error 13: an unknown error"):
        open_image(HEIC)
    assert not list(tmp_path.glob("gemma4-*"))


def test_without_sips_and_pillow_heif_the_command_is_named_that_helps(
    mac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Gemma4Error) as caught:
        open_image(HEIC)
    assert "`python -m pip install pillow-heif`" in caught.value.remedy


def test_pillow_heif_opens_heic_where_it_is_installed(
    mac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A substitute that registers what pillow-heif does, for a format that starts alike."""

    class Opener(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (96, 48), "L"
            self.tile = []

        def load(self) -> object:
            self.im = Image.new("L", self.size, 77).im
            return None

    monkeypatch.setattr(Image, "ID", [*Image.ID])  # Pillow knows it in this test alone
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN})
    package = ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open("HEIF", Opener)  # type: ignore
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert open_image(HEIC).getpixel((5, 5)) == (77, 77, 77)
