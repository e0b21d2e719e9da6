import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.video import label, open_video


def film(path: Path, count: int, pts: Callable[[int], int] = lambda i: i, rate: int = 10) -> Path:
    """Write a film: frame i has grey level 2 * i and a black left half, and stands at pts(i)."""
    av = pytest.importorskip("av", reason="PyAV is an extra")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(count):
            pixels = np.full((48, 64, 3), 2 * i % 256, np.uint8)
            pixels[:, :32] = 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts(i), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "seconds, text", [(0, "00:00"), (59.99, "00:59"), (61.2, "01:01"), (6000, "100:00")]
)
def test_a_label_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert label(seconds) == text


def test_frames_are_spread_evenly_and_carry_their_own_pictures(tmp_path: Path) -> None:
    picked = open_video(film(tmp_path / "a.mp4", 100), frames=32)
    numbers = [i * 100 // 32 for i in range(32)]
    assert np.allclose([seconds for seconds, _ in picked], np.array(numbers) / 10)
    levels = [picture.getpixel((50, 20))[0] for _, picture in picked]
    assert np.abs(np.array(levels) - 2 * np.array(numbers)).max() <= 6


def test_times_are_those_of_the_file_not_number_over_rate(tmp_path: Path) -> None:
    path = film(tmp_path / "slow.mkv", 10, pts=lambda i: 7 + i * i)
    assert np.allclose([s for s, _ in open_video(path)], [i * i / 10 for i in range(10)], atol=2e-3)


def test_in_a_long_film_the_same_frames_are_found_by_seeking(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4", 1100)
    assert np.allclose([s for s, _ in open_video(path, 4)], [0, 27.5, 55, 82.5])


def test_a_short_film_gives_every_frame_once(tmp_path: Path) -> None:
    assert len(open_video(film(tmp_path / "short.mp4", 3))) == 3


def test_a_film_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "phone.mp4", 3)
    data = bytearray(path.read_bytes())
    # The track header's matrix, 40 bytes after its version field: turn by 90 degrees clockwise
    at = data.index(b"tkhd") + 4 + 40
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4")
    data[at : at + 36] = matrix.tobytes()
    path.write_bytes(data)
    picture = open_video(path)[2][1]
    assert picture.size == (48, 64)
    top, bottom = picture.getpixel((20, 10))[0], picture.getpixel((20, 50))[0]
    assert (top, bottom) == pytest.approx((0, 4), abs=2)  # what was left is above


def test_a_film_that_is_cut_off_or_no_film_is_an_error(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", 30).read_bytes()
    for content in (b"", b"this is no video", whole[: len(whole) // 2]):
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        with pytest.raises(Gemma4Error, match="bad.mp4 cannot be read") as caught:
            open_video(path)
        assert caught.value.cause and caught.value.remedy
    with pytest.raises(Gemma4Error, match="There is no file"):
        open_video(tmp_path / "nowhere.mp4")


def test_without_pyav_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Gemma4Error, match="pip install av"):
        open_video(tmp_path / "a.mp4")
