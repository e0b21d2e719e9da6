"""Models that are quantized already: the terminal program downloads them as they are."""

from pathlib import Path

import pytest

from app import models_list
from app.widgets.card import ErrorCard
from mlx_gemma4.hub import catalog
from tests.app.host import Stage, live, staged
from tests.hub import server

REPO = "somebody/tiny-4bit"
FOLDER = Path(__file__).parents[2] / "assets/tiny-4bit"
CATALOGUE = f"""
["{REPO}"]
title = "A model that is quantized already"
license = "Apache-2.0"
repo = "{REPO}"
revision = "main"
audio_seconds = 30
image_tokens = [70]
"""


@pytest.fixture
def packages(hub: server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One package that ships, and one of the Hub."""
    hub.files[REPO] = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    (tmp_path / "Package.toml").write_text(CATALOGUE)
    known = {"tiny": catalog.packages()["tiny"], **catalog.read(tmp_path / "Package.toml")}
    monkeypatch.setattr(catalog, "packages", lambda: known)
    monkeypatch.setattr(models_list, "folder", lambda: tmp_path / "models")


async def asked(stage: Stage) -> None:
    """Open the page and ask for the size."""
    await stage.press("f2")
    await stage.until(lambda: "size not known" in stage.text)
    await stage.press("down", "d")


@live
async def test_a_quantized_model_is_downloaded_as_it_is_after_its_size_was_told(
    tmp_path: Path, hub: server.Hub, packages: None
) -> None:
    async with staged(tmp_path) as stage:
        await asked(stage)
        await stage.until(lambda: "Press D again to start" in " ".join(stage.text.split()))
        size = (FOLDER / "model.safetensors").stat().st_size
        assert f"{size / 1e6:.1f} MB  up to 8k tokens" in stage.text
        assert "size not known" not in stage.text
        assert not any(range_ is None for range_ in hub.asked("model.safetensors"))  # its head only
        await stage.press("d")
        await stage.until(lambda: f"✓ {REPO}" in stage.text)
        assert (catalog.resolve(REPO) / "model.safetensors").stat().st_size == size
        await stage.until(lambda: f"{REPO} is ready, in F2." in stage.text)
        await stage.press("enter")
        await stage.until(lambda: stage.app.workspace.settings.model == REPO)


@live
async def test_a_download_that_is_stopped_says_so_and_goes_on_the_next_time(
    tmp_path: Path, hub: server.Hub, packages: None
) -> None:
    hub.chunk, hub.pause = 20_000, 0.02
    async with staged(tmp_path) as stage:
        await asked(stage)
        await stage.until(lambda: "Press D again to start" in " ".join(stage.text.split()))
        await stage.press("d")
        await stage.until(lambda: "Downloaded 0.00 of 0.01 GB" in stage.text)
        await stage.press("c")
        await stage.until(lambda: stage.app.workspace.job is None)
        await stage.press("escape")
        await stage.until(lambda: f"{REPO} was not downloaded" in stage.text)
        hub.pause, sent = 0.0, hub.sent
        await asked(stage)
        await stage.until(lambda: "Press D again to start" in " ".join(stage.text.split()))
        await stage.press("d")
        await stage.until(lambda: f"✓ {REPO}" in stage.text)
        assert hub.sent - sent < sum(len(one) for one in hub.files[REPO].values())


@live
async def test_a_hub_that_cannot_be_asked_for_the_size_is_told(
    tmp_path: Path, hub: server.Hub, packages: None
) -> None:
    del hub.files[REPO]
    async with staged(tmp_path) as stage:
        await asked(stage)
        await stage.until(lambda: f"{REPO}" in stage.text and "hf auth login" in stage.text)
        assert stage.app.workspace.job is None and not stage.app.chat.query(ErrorCard)
