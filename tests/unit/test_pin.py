from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_gemma4.convert import pin
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OWN = """# mine
[mine]
title = "Mine"   # a name
license = "MIT"
repo = "me/mine"
revision = "main" # not verified
audio_seconds = 30
image_tokens = [70,
    140]

# another
["me/other"]
title = "Other"
license = "MIT"
path = "here"
audio_seconds = 30
image_tokens = [70]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's catalogue."""
    path = tmp_path / "Package.toml"
    path.write_text(OWN)
    monkeypatch.setattr(catalog, "user_file", lambda: path)
    catalog.packages.cache_clear()
    yield path
    catalog.packages.cache_clear()


def test_a_commit_takes_the_place_of_the_revision_and_nothing_else_changes(own: Path) -> None:
    assert pin.pin("mine", COMMIT) == own
    assert own.read_text() == OWN.replace('"main"', f'"{COMMIT}"')
    assert catalog.packages()["mine"].revision == COMMIT
    assert [path.name for path in own.parent.iterdir()] == ["Package.toml"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["me/other", "nobody/nothing", "."])
def test_only_a_package_with_a_repository_is_pinned(name: str) -> None:
    with pytest.raises(Gemma4Error, match="no package of the catalogue with a repository"):
        pin.check(name)


def test_the_catalogue_of_an_installed_program_stays(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pin, "_PROGRAM", own.parent)
    with pytest.raises(Gemma4Error, match="belongs to the installed program") as caught:
        pin.pin("mine", COMMIT)
    assert str(own) in caught.value.remedy
    assert own.read_text() == OWN
