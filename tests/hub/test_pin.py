from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_gemma4 import cli
from mlx_gemma4.checkpoint import recipes
from mlx_gemma4.hub import catalog
from tests.hub.server import COMMIT, Hub
from tests.unit.checkpoints import publish

REPO = "google/gemma-4-shards"


@pytest.fixture
def own(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's catalogue with a model that is on the Hub."""
    publish(tmp_path / "published", 2)
    hub.files[REPO] = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    path = tmp_path / "Package.toml"
    path.write_text(
        f'[mine]\ntitle = "Mine"\nlicense = "MIT"\nrepo = "{REPO}"\nrevision = "main"\n'
        'recipe = "8bit"\naudio_seconds = 30\nimage_tokens = [70]\n'
    )
    monkeypatch.setattr(catalog, "user_file", lambda: path)
    monkeypatch.chdir(tmp_path)
    catalog.packages.cache_clear()
    yield path
    catalog.packages.cache_clear()


def test_converting_pins_the_commit_and_takes_the_recipe_of_the_package(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = own.read_text()
    assert cli.main(["convert", "mine", "--pin"]) == 0
    told = capsys.readouterr()
    assert told.out == "gemma-4-shards-8bit\n"
    assert f"pinned to {COMMIT} in {own}" in told.err
    assert own.read_text() == before.replace('"main"', f'"{COMMIT}"')
    assert catalog.packages()["mine"].recipe in recipes.RECIPES


def test_what_cannot_be_pinned_is_told_before_anything_is_downloaded(
    hub: Hub, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", REPO, "--pin"]) == 2
    assert "no package of the catalogue" in capsys.readouterr().err
    assert hub.requests == []
    assert '"main"' in own.read_text()
