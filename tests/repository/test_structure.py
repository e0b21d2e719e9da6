from pathlib import Path

import pytest

from tools.structure import Measure, circles, measures, part_of, repeated_classes


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: measure.name.replace(" ", "_"))
def test_the_project_keeps_to_its_limits(measure: Measure) -> None:
    assert measure.value <= measure.limit, "\n".join(measure.details)


def test_a_circle_over_several_files_is_found_and_a_diamond_is_none() -> None:
    diamond = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    assert circles(diamond) == []
    assert circles([*diamond, ("d", "b"), ("e", "f"), ("f", "g"), ("g", "e"), ("g", "a")]) == [
        ["b", "d"],
        ["e", "f", "g"],
    ]


def test_a_class_that_stands_in_two_files_is_found_with_both() -> None:
    files = {
        Path("/p/a.py"): "class One: ...\nclass Two:\n    class Inner: ...\n",
        Path("/p/b.py"): "class One: ...\nclass Three:\n    class Inner: ...\n",
    }
    assert repeated_classes(files, Path("/p")) == ["One: a.py, b.py"]


@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("mlx_gemma4", "mlx_gemma4"),
        ("mlx_gemma4.errors", "mlx_gemma4.errors"),
        ("mlx_gemma4.model.cache", "mlx_gemma4.model"),
        ("app.screens.chat", "app"),
    ],
)
def test_a_part_is_what_lies_at_the_first_level(module: str, part: str) -> None:
    assert part_of(module) == part
