"""How the screens look, as SVG pictures, compared to the letter with tests/app/snapshots.

UPDATE_SNAPSHOTS=1 pytest tests/app/test_snapshots.py writes them again; look at them then.
"""

import os
import re
from pathlib import Path

import pytest

from tests.app.host import live
from tests.app.pictures import SIZES, STATES, THEMES, drawn

FOLDER = Path(__file__).parent / "snapshots"


# all of the main screen; of each page a small dark and a large light one
DRAWN = [
    (state, size, theme)
    for state in STATES
    for size in SIZES
    for theme in THEMES
    if state in ("first", "talk") or (size, theme) in (("80x24", "dark"), ("120x40", "light"))
]


@pytest.mark.parametrize(("state", "size", "theme"), DRAWN)
def test_the_screen_looks_as_before(
    state: str, size: str, theme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = snapshot(state, size, theme, tmp_path, monkeypatch)
    path = FOLDER / f"{state}-{size}-{theme}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
    if picture != path.read_text(encoding="utf-8"):
        failed = FOLDER.parents[2] / "out" / "snapshots" / path.name
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(picture, encoding="utf-8")
        raise AssertionError(f"compare {failed} with {path}")


def snapshot(
    state: str, size: str, theme: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    picture = ""

    @live
    async def draw() -> None:
        nonlocal picture
        picture = await drawn(state, size, theme, folder, monkeypatch)

    draw()
    assert not re.search(r"pytest-of|/tmp/", picture), "it shows where the test ran"
    return picture
