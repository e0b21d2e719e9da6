"""Past turns: what they hold, and that their media are read once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, ToolResult, VideoPart
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import ToolCall
from mlx_gemma4.media.video import FRAME_TOKENS
from mlx_gemma4.model.config import Config
from mlx_gemma4.runtime import past
from mlx_gemma4.runtime.commands import (
    AddImage,
    AddSound,
    AddText,
    AddToolResult,
    AddVideo,
    PastPart,
    PastTurn,
)
from mlx_gemma4.runtime.past import MediaCache, turns_of
from mlx_gemma4.testing.doubles import tiny_config, tones

CONFIG = tiny_config()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was read, each time."""
    made: list[Any] = []
    for name in ("patches", "read_sound"):
        function = getattr(past, name)

        def noted(source: Any, *rest: Any, function: Any = function) -> Any:
            made.append(source)
            return function(source, *rest)

        monkeypatch.setattr(past, name, noted)
    return made


def picture(path: Path, color: str = "white", size: int = 96) -> Path:
    Image.new("RGB", (size, size), color).save(path)
    return path


def user(*parts: PastPart) -> PastTurn:
    return PastTurn("user", parts)


def test_a_turn_of_every_medium(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tones([300], 1.0), 16000)
    image = picture(tmp_path / "a.png")
    film = [(0.0, image), (2.0, image)]
    turn = user(AddImage(image, 140), AddSound(tmp_path / "a.wav"), AddVideo(film), AddText("what"))
    (made,), missing = turns_of([turn], MediaCache(), CONFIG, 70)
    assert missing == []
    assert [type(part) for part in made.parts] == [ImagePart, SoundPart, VideoPart, TextPart]
    image_part, sound, video, _ = made.parts
    assert isinstance(image_part, ImagePart) and isinstance(sound, SoundPart)
    assert isinstance(video, VideoPart)
    assert 70 < len(image_part.picture.patches) <= 140
    assert sound.frames.shape == (25, 640)
    assert [seconds for seconds, _ in video.frames] == [0.0, 2.0]


def test_a_medium_is_read_once_until_its_file_changes(tmp_path: Path, reads: list[Any]) -> None:
    image, media = picture(tmp_path / "a.png"), MediaCache()
    for _ in range(3):
        turns_of([user(AddImage(image))], media, CONFIG, 70)
    assert reads == [image]
    turns_of([user(AddImage(image, 140))], media, CONFIG, 70)
    assert reads == [image] * 2  # other patches
    picture(image, "black", 192)
    (turn,), _ = turns_of([user(AddImage(image))], media, CONFIG, 70)
    assert reads == [image] * 3
    assert isinstance(turn.parts[0], ImagePart)
    assert turn.parts[0].picture.original == (192, 192)


def test_what_is_kept_is_bounded(
    tmp_path: Path, reads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    media = MediaCache()
    one, two = picture(tmp_path / "1.png"), picture(tmp_path / "2.png")
    monkeypatch.setattr(past, "MEDIA_BYTES", media.image(one, 70).patches.nbytes)
    for _ in range(2):
        for image in (one, two):
            turns_of([user(AddImage(image))], media, CONFIG, 70)
    assert reads == [one, two, one, two]


def test_a_file_may_be_a_picture_and_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, media = picture(tmp_path / "a.png"), MediaCache()
    monkeypatch.setattr(past, "film_of", lambda path: [(0.0, path)])
    turn = user(AddImage(file, FRAME_TOKENS), AddVideo(file), AddImage(file, FRAME_TOKENS))
    ((one, video, other),) = (made.parts for made in turns_of([turn], media, CONFIG, 70)[0])
    assert isinstance(one, ImagePart) and isinstance(other, ImagePart)
    assert isinstance(video, VideoPart) and video.frames[0][1] is one.picture is other.picture


def test_pixels_have_no_file_and_are_not_kept(reads: list[Any]) -> None:
    pixels, media = np.zeros((96, 96, 3), np.uint8), MediaCache()
    for _ in range(2):
        turns_of([user(AddImage(pixels))], media, CONFIG, 70)
    assert len(reads) == 2


@pytest.mark.parametrize("name", ["gone.png", "go\0ne.png"])
@pytest.mark.parametrize("add", [AddImage, AddSound, AddVideo])
def test_a_missing_medium_is_replaced_by_text_and_named(
    tmp_path: Path, add: Callable[[Path], PastPart], name: str
) -> None:
    turn = user(add(tmp_path / name), AddText("what"))
    (made,), missing = turns_of([turn], MediaCache(), CONFIG, 70)
    assert [type(part) for part in made.parts] == [TextPart, TextPart]
    assert "ne.png" in missing[0]


def test_a_model_without_eyes_goes_on_without_the_picture(tmp_path: Path) -> None:
    blind: Config = replace(CONFIG, vision_config=None)
    turn = user(AddImage(picture(tmp_path / "a.png")), AddText("what"))
    (made,), missing = turns_of([turn], MediaCache(), blind, 70)
    assert [type(part) for part in made.parts] == [TextPart, TextPart]
    assert "takes no pictures" in missing[0]


def test_results_of_tools_are_a_turn_of_their_own_and_their_pictures_follow(tmp_path: Path) -> None:
    call = ToolCall("c1", "look", {})
    content = ["seen", {"type": "image", "image": picture(tmp_path / "a.png")}]
    turns, _ = turns_of(
        [
            user(AddText("look")),
            PastTurn("model", (call,), ids=(5, 6), interrupted=True),
            user(AddToolResult("c1", content)),
        ],
        MediaCache(),
        CONFIG,
        70,
    )
    assert [turn.role for turn in turns] == ["user", "model", "tool", "user"]
    assert (turns[1].ids, turns[1].interrupted) == ((5, 6), True)
    assert turns[2].parts == (ToolResult("look", "seen", "c1"),)
    assert isinstance(turns[3].parts[0], ImagePart)


def test_a_result_that_answers_no_call_is_an_error() -> None:
    with pytest.raises(Gemma4Error) as caught:
        turns_of([user(AddToolResult("c9", "x"))], MediaCache(), CONFIG, 70)
    assert caught.value.code == "tool_call_unknown"
