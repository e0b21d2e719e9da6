"""Draw the pictures of the terminal program in docs/, of the states that the tests draw.

python -m docs.shots
"""

import asyncio
import tempfile
from pathlib import Path

import pytest

from tests.app.pictures import drawn

FOLDER = Path(__file__).parent
SHOTS = {
    "screen": ("talk", "120x40", "dark"),
    "screen-light": ("talk", "120x40", "light"),
    "models": ("models", "120x40", "dark"),
}


def main() -> None:
    """Draw them."""
    for name, (state, size, theme) in SHOTS.items():
        with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as monkeypatch:
            picture = asyncio.run(drawn(state, size, theme, Path(place), monkeypatch))
        (FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
