import numpy as np

from mlx_gemma4.runtime import commands


def test_commands_with_media_are_equal_only_to_themselves() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    one, other = commands.AddImage(pixels), commands.AddImage(pixels)
    assert one == one and one != other
    assert len({one, other}) == 2
    assert commands.AddText("a") == commands.AddText("a") != commands.AddText("b")
    assert commands.AddText("a") != commands.AddText("a", conversation="other")
