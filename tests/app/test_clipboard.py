"""The clipboard by its programs, which are scripts here."""

import io
import struct
import zlib

import pytest
from PIL import Image

from app.devices import screen
from mlx_gemma4.errors import Gemma4Error
from tests.app.programs import Program


@pytest.fixture
def clipboard(no_screen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")


@pytest.mark.usefixtures("clipboard")
def test_a_picture_comes_out_of_the_clipboard(program: Program, shot: Image.Image) -> None:
    program("wl-paste", 'cat "$SHOT"')
    taken = screen.clipboard()
    assert isinstance(taken, screen.Shot) and taken.name == "clipboard"
    assert taken.image.tobytes() == shot.tobytes()


@pytest.mark.usefixtures("clipboard")
def test_a_clipboard_without_a_picture_gives_nothing(program: Program) -> None:
    program("wl-paste", "echo 'No suitable type of content copied' >&2; exit 1")
    assert screen.clipboard() is None


@pytest.mark.usefixtures("clipboard")
@pytest.mark.parametrize("script", ["echo 'no seat' >&2; exit 1", r"printf '\x89PNG'"])
def test_a_clipboard_that_cannot_be_read_is_told(program: Program, script: str) -> None:
    program("wl-paste", script)
    with pytest.raises(Gemma4Error, match="clipboard cannot be read"):
        screen.clipboard()


@pytest.mark.usefixtures("clipboard")
def test_without_a_program_for_the_clipboard_the_remedy_names_one() -> None:
    with pytest.raises(Gemma4Error, match="wl-clipboard"):
        screen.clipboard()


@pytest.mark.usefixtures("mac")
def test_osascript_that_fails_means_a_clipboard_without_a_picture(program: Program) -> None:
    program("osascript", "echo 'execution error: (-1700)' >&2; exit 1")
    assert screen.clipboard() is None


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize("size", [None, (4, 4), (30_000, 30_000)])
def test_osascript_that_gives_nonsense_is_told(
    program: Program, size: tuple[int, int] | None
) -> None:
    data = "zz"
    if size:  # a picture without its pixels, as large as this
        stream = io.BytesIO()
        Image.new("RGB", (4, 4)).save(stream, "PNG")
        head, rest = stream.getvalue()[:12], stream.getvalue()[33:41]
        header = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        data = (head + header + struct.pack(">I", zlib.crc32(header)) + rest).hex()
    program("osascript", f"echo '«data PNGf{data}»'")
    with pytest.raises(Gemma4Error, match="clipboard cannot be read"):
        screen.clipboard()


@pytest.mark.usefixtures("mac")
def test_a_macs_clipboard_gives_its_picture(program: Program, shot: Image.Image) -> None:
    program("osascript", "printf '«data PNGf'; od -An -v -tx1 \"$SHOT\" | tr -d ' \\n'; echo '»'")
    taken = screen.clipboard()
    assert isinstance(taken, screen.Shot)
    assert taken.image.convert("RGB").tobytes() == shot.tobytes()
