import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4 import limits
from mlx_gemma4.chat.messages import VideoPart
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import patches
from mlx_gemma4.media.sound_window import DAMAGED
from mlx_gemma4.media.sources import Source
from mlx_gemma4.media.video import FRAME_TOKENS, FRAMES, film_of, frames_of, label, timed
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.session import Session

NOTHING = np.zeros((48, 48), np.uint8)


def open_video(source: Source, frames: int = FRAMES) -> list[tuple[float, Image.Image]]:
    """All frames that are picked."""
    return list(frames_of(source, frames))


def film(
    path: Path, count: int, pts: Callable[[int], int] = lambda i: i, rate: int = 10, keys: int = 12
) -> Path:
    """Write a film: frame i has grey level 2 * i and a black left half, and is at pts(i).

    Each `keys`-th is a key frame.
    """
    av = pytest.importorskip("av", reason="PyAV is an extra")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = keys
        for i in range(count):
            pixels = np.full((48, 64, 3), 2 * i % 256, np.uint8)
            pixels[:, :32] = 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts(i), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damage(path: Path, number: int) -> None:
    """Overwrite a film's frame of this number."""
    av = pytest.importorskip("av", reason="PyAV is an extra")
    with av.open(str(path)) as container:
        (damaged,) = [p for at, p in enumerate(container.demux(video=0)) if at == number]
    data = bytearray(path.read_bytes())
    data[damaged.pos : damaged.pos + damaged.size] = bytes(damaged.size)
    path.write_bytes(data)


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


def test_a_long_film_of_a_broadcast_is_entered_at_key_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "long.ts", 1100, rate=25, keys=250)
    picked = open_video(path, 4)
    assert np.allclose([seconds for seconds, _ in picked], [0, 11, 22, 33])
    levels = [picture.getpixel((50, 20))[0] for _, picture in picked]
    assert levels == pytest.approx([2 * i % 256 for i in (0, 275, 550, 825)], abs=6)


def test_what_was_cut_off_a_film_without_encoding_it_again_has_no_time(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is an extra")
    cut = tmp_path / "cut.mp4"
    with av.open(str(film(tmp_path / "a.mp4", 60, keys=30))) as whole, av.open(cut, "w") as made:
        stream = made.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts = (
                    at - int(2 / packet.time_base) for at in (packet.pts, packet.dts)
                )
                packet.stream = stream
                made.mux(packet)
    assert np.allclose([s for s, _ in open_video(cut, 4)], [0, 1, 2, 3])


def test_a_film_goes_on_behind_damage_and_a_note_reports_it(model: Gemma4, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 100)
    assert Session(model).add_video(path) == ()
    damage(path, 50)
    assert np.allclose([s for s, _ in open_video(path, 10)], [0, 1, 2, 3, 4, 5.1, 6, 7, 8, 9])
    assert Session(model).add_video(path) == (DAMAGED,)


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


def test_frames_that_come_with_their_times_are_a_video(
    model: Gemma4, folder: Path, tmp_path: Path
) -> None:
    grey = np.full((90, 160), 128, np.uint8)
    path = tmp_path / "frame.png"
    Image.fromarray(grey).save(path)
    session = Session(model)
    session.add_video([(0, grey), (61.5, Image.fromarray(grey)), (125.0, path)])
    (video,) = session._conversation.pending.parts
    assert isinstance(video, VideoPart)
    assert [seconds for seconds, _ in video.frames] == [0, 61.5, 125.0]
    (count,) = {len(picture.patches) for _, picture in video.frames}
    assert count == len(patches(grey, FRAME_TOKENS).patches)
    frame = f"<|image>{'<|video|>' * count}<image|>"
    text = f"00:00 {frame} 01:01 {frame} 02:05 {frame}"
    wanted = Tokenizer.from_folder(folder).encode(text, special=True)
    ids = session._conversation.prompt().prompt.token_ids
    assert any(ids[at : at + len(wanted)] == wanted for at in range(len(ids)))


def test_a_file_and_its_own_frames_make_the_same_prompt(model: Gemma4, tmp_path: Path) -> None:
    path = film(tmp_path / "slow.mkv", 6, pts=lambda i: i * i * 40)
    one, other = Session(model), Session(model)
    one.add_video(path)
    other.add_video(open_video(path))
    ids, same = one._conversation.prompt().prompt, other._conversation.prompt().prompt
    assert ids.token_ids == same.token_ids and len(ids.videos) == 6
    for (left, _), (right, _) in zip(ids.videos, same.videos, strict=True):
        assert np.array_equal(left, right)


@pytest.mark.parametrize(
    "times, cause",
    [
        ([], "It has 0 frames"),
        (range(FRAMES + 1), "It has 33 frames"),
        ([0, 5, 4], "Frame 3 is at 4 s"),
        ([-1], "Frame 1 is at -1 s"),
        ([0, math.nan], "Frame 2 is at nan s"),
        ([math.inf], "Frame 1 is at inf s"),
    ],
)
def test_times_that_no_video_has_are_refused(times: Sequence[float], cause: str) -> None:
    with pytest.raises(Gemma4Error, match="The video is not usable") as caught:
        timed([(seconds, NOTHING) for seconds in times])
    assert cause in caught.value.cause


def test_without_pyav_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Gemma4Error, match="pip install av"):
        open_video(tmp_path / "a.mp4")


def test_a_video_may_be_its_bytes(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 5)
    assert [s for s, _ in open_video(path.read_bytes())] == [s for s, _ in open_video(path)]


@pytest.mark.parametrize("film", [None, 7, b"", [1, 2], [("now", NOTHING)], "nowhere.mp4"])
def test_what_is_no_video_at_all_is_an_error(film: object) -> None:
    with pytest.raises(Gemma4Error) as caught:
        list(film_of(film))  # type: ignore[arg-type]
    assert caught.value.code == "video_unreadable" and caught.value.remedy


def test_the_frames_of_a_video_are_bounded_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.mp4", 5)
    monkeypatch.setattr(limits, "VIDEO_PIXELS", 64 * 48 - 1)
    with pytest.raises(Gemma4Error, match="64x48, more than 3,071 pixels"):
        open_video(path)
    monkeypatch.setattr(limits, "VIDEO_PIXELS", 64 * 48)
    monkeypatch.setattr(limits, "VIDEO_FRAMES", 4)
    with pytest.raises(Gemma4Error, match="more than 4 frames"):
        open_video(path)


def test_a_playlist_leads_to_no_other_file(tmp_path: Path) -> None:
    other = film(tmp_path / "a.mp4", 5)
    path = tmp_path / "list.mp4"
    for text in (f"ffconcat version 1.0\nfile {other}\n", f"#EXTM3U\n#EXTINF:1,\n{other}\n"):
        path.write_text(text)
        with pytest.raises(Gemma4Error, match="list.mp4 cannot be read"):
            open_video(path)
