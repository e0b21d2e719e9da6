import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import BUDGETS, open_image, patches, resized_size

CASES = np.load(Path(__file__).parents[1] / "fixtures" / "processor_cases.npz")


def reopened(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    """The picture as the library opens it from a file."""
    image.save("picture", kind, **options)
    return open_image("picture")


def first_pixel(image: Image.Image) -> tuple[int, ...]:
    return reopened(image).getpixel((0, 0))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_sizes_equal_those_of_transformers() -> None:
    for height, width, budget, *size in CASES["sizes"].tolist():
        assert resized_size(height, width, budget) == tuple(size), (height, width, budget)


@settings(deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(BUDGETS))
def test_every_size_is_whole_patches_within_the_budget(h: int, w: int, budget: int) -> None:
    height, width = resized_size(h, w, budget)
    assert height % 48 == width % 48 == 0
    assert 0 < (height // 48) * (width // 48) <= budget


@pytest.mark.parametrize("budget, step", [(70, 4), (280, 16)])
def test_pixels_are_within_two_levels_of_torchvision(budget: int, step: int) -> None:
    made = patches(CASES["image"], budget)
    levels = made.patches[::step].astype(np.float32)
    difference = np.abs(levels - CASES[f"pixels_{budget}"])
    assert difference.max() <= 2
    assert difference.mean() < 0.02
    assert np.array_equal(made.positions, CASES[f"positions_{budget}"])


def test_a_patch_holds_its_own_square_channel_last() -> None:
    made = patches(CASES["image"], 70)
    columns = made.size[0] // 48
    resized = np.asarray(Image.fromarray(CASES["image"]).resize(made.size, Image.BICUBIC))
    for patch, (x, y) in zip(made.patches, made.positions, strict=True):
        square = resized[y * 48 : y * 48 + 48, x * 48 : x * 48 + 48]
        assert np.array_equal(patch, square.reshape(-1))
    assert made.positions[columns].tolist() == [0, 1]


def test_small_pictures_are_made_larger() -> None:
    made = patches(Image.new("RGB", (10, 10)), 70)
    assert (made.original, made.size, made.patches.shape) == ((10, 10), (384, 384), (64, 6912))


@pytest.mark.parametrize("size, made", [((1, 1), (768, 768)), ((1, 5000), (48, 13440))])
def test_extreme_shapes_follow_the_size_rule(size: tuple[int, int], made: tuple[int, int]) -> None:
    assert patches(Image.new("RGB", size, (9, 9, 9))).size == made


@pytest.mark.parametrize("mode, colour", [("RGBA", (255, 0, 0, 128)), ("LA", (0, 0))])
def test_transparency_is_laid_on_white(mode: str, colour: tuple[int, ...]) -> None:
    expected = {"RGBA": (255, 127, 127), "LA": (255, 255, 255)}[mode]
    assert first_pixel(Image.new(mode, (9, 9), colour)) == expected


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_is_laid_on_white(mode: str) -> None:
    image = Image.new(mode, (9, 9), 0)
    key = (0, 0, 0) if mode == "RGB" else 0
    assert reopened(image, transparency=key).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "bits, kind, pixel, colour, other, level",
    [
        (2, 0, "80", "0002", "0001", 170),
        (4, 0, "70", "0007", "0008", 119),
        (16, 0, "8001", "8001", "8000", 128),
        (16, 2, "800040002000", "800040002000", "700040002000", 128),
    ],
)
def test_a_transparent_colour_is_found_at_every_depth_of_a_png(
    bits: int, kind: int, pixel: str, colour: str, other: str, level: int
) -> None:
    def png(transparent: str) -> bytes:
        chunks = {
            b"IHDR": struct.pack(">IIBBBBB", 1, 1, bits, kind, 0, 0, 0),
            b"tRNS": bytes.fromhex(transparent),
            b"IDAT": zlib.compress(b"\0" + bytes.fromhex(pixel)),
            b"IEND": b"",
        }
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks.items()
        )

    assert open_image(png(colour)).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(png(other)).getpixel((0, 0))[0] == level


def test_a_photo_taken_sideways_is_turned_upright() -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste((255, 0, 0), (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    upright = reopened(image, exif=exif)
    assert upright.size == (20, 40)
    assert upright.getpixel((19, 20)) == (255, 0, 0)
    assert upright.getpixel((0, 20)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert np.asarray(reopened(deep))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "values, levels",
    [
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 51, 255]], np.float32), [0, 51, 255]),
    ],
)
def test_deep_pictures_are_scaled_to_what_white_must_be(
    values: np.ndarray, levels: list[int]
) -> None:
    assert np.asarray(reopened(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == levels


def test_stretched_values_are_told() -> None:
    Image.fromarray(np.array([[-1, 3]], np.int32)).save("deep.tiff")
    assert patches("deep.tiff").notes == (
        "Its values from -1 to 3 were stretched to black and white.",
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.float32(-5), np.int32(100_000)])
def test_a_plain_picture_of_a_level_beyond_all_is_black(value: np.generic) -> None:
    Image.fromarray(np.full((9, 9), value)).save("plain.tiff")
    made = patches("plain.tiff")
    assert not made.patches.any() and made.notes == ()


def test_palette_cmyk_and_one_bit_pictures_keep_their_colours() -> None:
    palette = Image.new("RGB", (9, 9), (200, 30, 60)).quantize(4)
    assert first_pixel(palette) == (200, 30, 60)
    assert first_pixel(Image.new("1", (9, 9), 1)) == (255, 255, 255)
    cmyk = reopened(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG").getpixel((4, 4))
    assert np.abs(np.array(cmyk) - (255, 0, 0)).max() <= 3


def test_of_an_animation_the_first_frame_is_used_and_told() -> None:
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    red.save("two.gif", save_all=True, append_images=[blue])
    made = patches("two.gif")
    assert made.patches[0, :3].tolist() == [255, 0, 0]
    assert made.notes == ("Only the first of 2 frames is used.",)


def test_a_later_frame_of_an_animation_is_a_picture_without_a_note() -> None:
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    red.save("two.gif", save_all=True, append_images=[blue])
    with Image.open("two.gif") as moving:
        moving.seek(1)
        made = patches(moving)
    assert made.patches[0, :3].tolist() == [0, 0, 255] and made.notes == ()


def test_an_ordinary_picture_has_no_notes() -> None:
    Image.new("RGB", (9, 9)).save("one.png")
    assert patches("one.png").notes == ()


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(CASES["image"]).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, cause",
    [
        (b"", "0 bytes"),
        (b"this is no picture", "not in a picture format"),
        (encoded("PNG")[:2000], "damaged or cut short"),
        (encoded("JPEG")[:2000], "damaged or cut short"),
        (encoded("PNG")[:20], "damaged or cut short"),
    ],
)
def test_a_bad_file_is_an_error_that_says_why(content: bytes, cause: str) -> None:
    Path("bad.png").write_bytes(content)
    with pytest.raises(Gemma4Error) as caught:
        open_image("bad.png")
    assert "bad.png" in caught.value.title
    assert cause in caught.value.cause
    assert caught.value.remedy


def test_missing_files_and_folders_are_errors() -> None:
    for path in ("nowhere.png", "."):
        with pytest.raises(Gemma4Error, match="There is no file"):
            open_image(path)


@pytest.mark.parametrize(
    "array",
    [
        np.full((9, 9, 3), 51, np.uint8),
        np.full((9, 9), 51, np.uint8),
        np.full((9, 9, 3), 0.2),
        np.full((9, 9), 13107, np.uint16),
        np.dstack([np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 204, np.uint8)]),
    ],
)
def test_arrays_of_each_kind_are_pictures(array: np.ndarray) -> None:
    assert set(patches(array, 70).patches.ravel()) == {51}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((9, 9, 2), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((9, 9), np.int64),
        np.full((9, 9), 2.0),
        np.full((9, 9), np.nan),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_pictures_are_errors(array: np.ndarray) -> None:
    with pytest.raises(Gemma4Error):
        patches(array)


def test_a_budget_the_model_was_not_trained_with_is_an_error() -> None:
    with pytest.raises(Gemma4Error, match="70, 140, 280, 560, 1120"):
        patches(Image.new("RGB", (9, 9)), 100)


@pytest.mark.parametrize("name", ["a.png", "a.eps"])
def test_a_program_in_a_picture_is_never_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would have Ghostscript run it, whatever the file is called."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("a program was run")

    monkeypatch.setattr("subprocess.Popen", run)
    Path(name).write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    )
    for source in (name, Image.open(name)):
        with pytest.raises(Gemma4Error, match="not in a picture format"):
            patches(source)
    with pytest.raises(Gemma4Error, match="not in a picture format"):
        open_image(name)


def test_an_image_that_another_program_would_decode_is_refused() -> None:
    """Pillow leaves such formats to whoever registered for them, as it does for WMF on Windows."""

    class Stub(ImageFile.StubImageFile):
        format = "WMF"

        def _open(self) -> None:
            self._size, self._mode = (9, 9), "RGB"

    image = Stub(io.BytesIO())
    with pytest.raises(Gemma4Error, match="It is WMF, not decoded yet"):
        patches(image)


def test_an_image_of_any_format_that_is_decoded_already_is_a_picture() -> None:
    Image.new("RGB", (64, 64), (200, 100, 50)).save("a.tga")
    decoded = Image.open("a.tga")
    decoded.load()
    assert patches(decoded, 70).patches[0, :3].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", [OSError, RuntimeError, EOFError, KeyError, ZeroDivisionError])
def test_an_image_that_fails_when_it_is_decoded_is_an_error_whatever_it_raises(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save("a.png")
    image = Image.open("a.png")

    def fails(*_: object) -> None:
        raise kind("broken")

    monkeypatch.setattr(image, "load", fails)
    with pytest.raises(Gemma4Error, match="cannot be decoded .*broken") as caught:
        patches(image)
    assert caught.value.code == "picture_unreadable"


@pytest.mark.parametrize("kind", ["TGA", "SPIDER", "PDF", "IM"])
def test_what_is_no_raster_known_by_its_content_is_refused(kind: str) -> None:
    image = Image.new("F" if kind == "SPIDER" else "RGB", (64, 64))
    image.save("picture", kind)
    with pytest.raises(Gemma4Error, match="not in a picture format"):
        open_image("picture")


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "JPEG2000", "ICO", "PPM", "QOI"]
)
def test_pictures_of_every_kind_are_read_whatever_they_are_called(kind: str) -> None:
    image = Image.new("RGB", (96, 96), (200, 100, 50))
    image.save("picture.wav", kind)
    opened = open_image("picture.wav")
    assert opened.mode == "RGB"
    assert np.abs(np.subtract(opened.getpixel((40, 40)), (200, 100, 50))).max() <= 10


@pytest.mark.parametrize("kind, what", [("AVIF", "frames"), ("WEBP", "frames"), ("PNG", "frames")])
def test_of_every_animation_the_first_frame_is_used_and_told(kind: str, what: str) -> None:
    frames = [Image.new("RGB", (96, 96), (level, 0, 0)) for level in (250, 100, 10)]
    frames[0].save("moving", kind, save_all=True, append_images=frames[1:], duration=100)
    picture = patches("moving", 70)
    assert picture.notes == (f"Only the first of 3 {what} is used.",)
    assert abs(float(picture.patches[0, 0]) - 250) < 6


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "LA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_every_mode_of_pillow_is_converted(mode: str) -> None:
    grey = Image.new("L", (96, 96), 100)
    if mode == "LAB":
        image = Image.new("LAB", (96, 96), (108, 128, 128))  # a neutral grey
    else:
        through = {"La": "LA", "PA": "P", "RGBa": "RGBA"}.get(mode, "RGB")
        image = grey.convert(through).convert(mode)
    picture = patches(image, 70)
    assert np.abs(picture.patches.astype(float) - 100).max() <= 3


def test_a_half_transparent_picture_is_laid_on_white_in_every_mode() -> None:
    half = Image.merge("LA", [Image.new("L", (96, 96), 0), Image.new("L", (96, 96), 127)])
    for image in (
        half,
        half.convert("La"),
        half.convert("RGBA"),
        half.convert("RGBA").convert("RGBa"),
    ):
        assert np.abs(patches(image, 70).patches.astype(float) - 128).max() <= 1


def test_a_picture_may_be_a_path_its_bytes_or_an_open_file() -> None:
    Image.radial_gradient("L").save("a.png")
    content = Path("a.png").read_bytes()
    expected = patches("a.png", 70).patches
    with Path("a.png").open("rb") as file:
        sources = (Path("a.png"), content, bytearray(content), memoryview(content), file)
        for source in (*sources, io.BytesIO(content)):
            assert np.array_equal(patches(source, 70).patches, expected)
        assert not file.closed


@pytest.mark.parametrize("source", [None, 7, ["a.png"], b"", b"no picture", io.StringIO("x")])
def test_what_is_no_picture_at_all_is_an_error(source: object) -> None:
    with pytest.raises(Gemma4Error) as caught:
        patches(source, 70)  # type: ignore[arg-type]
    assert caught.value.code == "picture_unreadable" and caught.value.remedy


def test_a_file_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (9, 9)).save("a.png")

    def denied(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(Gemma4Error, match=r"a\.png: Permission denied"):
        open_image("a.png")


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe.png")
    with pytest.raises(Gemma4Error, match="no ordinary file"):
        open_image("pipe.png")
