"""The terminal program brings models by `gemma4 get`, in a process of its own, from a local Hub."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from app.widgets.card import ErrorCard
from mlx_gemma4.hub import catalog, installed
from tests.app.host import Stage, live, staged
from tests.hub import server

REPO = "somebody/tiny-4bit"
NAME = "google/gemma-4-12B-it"
ASSETS = Path(__file__).parents[2] / "assets"
CATALOGUE = f"""
["{REPO}"]
title = "A model that is quantized already"
license = "Apache-2.0"
repo = "{REPO}"
revision = "main"
audio_seconds = 30
image_tokens = [70]
"""


@pytest.fixture(autouse=True)
def published(hub: server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> server.Hub:
    """A Hub with two models, which processes of their own ask, too."""
    for repo, folder in ((REPO, "tiny-4bit"), (NAME, "tiny")):
        files = (path for path in (ASSETS / folder).iterdir() if path.is_file())
        hub.files[repo] = {path.name: path.read_bytes() for path in files}
    own = tmp_path / "own" / "mlx-gemma4" / "Package.toml"
    own.parent.mkdir(parents=True)
    own.write_text(CATALOGUE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_CACHE", constants.HF_HUB_CACHE)
    catalog.packages.cache_clear()
    return hub


async def choose(stage: Stage, name: str) -> None:
    """Open the page, and go to a model that is not here."""
    await stage.press("f2")
    await stage.until(lambda: name in stage.text and "looking" not in stage.text)
    page = stage.app.screen
    place = next(n for n, one in enumerate(page.listed) if one.name == name)  # type: ignore[attr-defined]
    await stage.press(*["down"] * place)
    await stage.press("enter")
    await stage.until(lambda: "Press Enter again to start" in flat(stage))


def flat(stage: Stage) -> str:
    return " ".join(stage.text.replace("│", " ").split())


@live
async def test_a_quantized_model_is_downloaded_as_it_is_after_its_size_was_told(
    tmp_path: Path, hub: server.Hub
) -> None:
    async with staged(tmp_path) as stage:
        await choose(stage, REPO)
        size = (ASSETS / "tiny-4bit/model.safetensors").stat().st_size
        assert f"{size / 1e6:.1f} MB of weights" in flat(stage)
        assert "up to 8,192 tokens" in flat(stage) and "size not known" not in stage.text
        assert not any(range_ is None for range_ in hub.asked("model.safetensors"))  # its head only
        await stage.press("enter")
        await stage.until(lambda: "✓ tiny-4bit" in stage.text and "brought" not in stage.text, 30)
        await stage.until(lambda: stage.app.workspace.job is None, 30)
        assert (catalog.resolve(REPO) / "model.safetensors").stat().st_size == size
        await stage.press("escape")
        await stage.until(lambda: f"{REPO} is ready" in stage.text)
        await stage.press("ctrl+t")
        await stage.until(lambda: stage.app.workspace.settings.model == REPO)
        await stage.until(lambda: f"{REPO} is ready" not in stage.text)


@live
async def test_the_12b_comes_quantized_and_a_name_loads_it(tmp_path: Path, hub: server.Hub) -> None:
    async with staged(tmp_path) as stage:
        await choose(stage, NAME)
        await stage.press("enter", "escape")
        await stage.until(lambda: f"{NAME} is ready" in stage.text, 30)
        folder = catalog.resolve(NAME)
        assert folder == installed.folder() / "gemma-4-12B-it-6bit"
        assert catalog.default() == NAME
        await stage.press("f2")
        await stage.until(lambda: "✓ gemma-4-12B-it-6bit" in stage.text)


@live
async def test_a_download_that_is_stopped_goes_on_the_next_time(
    tmp_path: Path, hub: server.Hub
) -> None:
    hub.chunk, hub.pause = 20_000, 0.02
    async with staged(tmp_path) as stage:
        await choose(stage, NAME)
        await stage.press("enter")
        await stage.until(
            lambda: "Downloading" in stage.text and "0.00 of 0.01 GB" in flat(stage), 20
        )
        await stage.until(lambda: installed.unfinished().get(NAME, 0) > 2_000_000, 30)
        await stage.press("c")
        await stage.until(lambda: stage.app.workspace.job is None, 20)
        assert not stage.app.chat.query(ErrorCard)  # it was stopped on purpose
        hub.pause, sent = 0.0, hub.sent
        await stage.press("enter")
        await stage.until(lambda: "Press Enter again to start" in flat(stage))
        await stage.press("enter", "escape")
        await stage.until(lambda: f"{NAME} is ready" in stage.text, 30)
        whole = sum(len(one) for one in hub.files[NAME].values())
        assert hub.sent - sent < whole - 1_000_000


@live
async def test_a_hub_that_cannot_be_asked_for_the_size_is_told(
    tmp_path: Path, hub: server.Hub
) -> None:
    del hub.files[REPO]
    async with staged(tmp_path) as stage:
        await stage.press("f2")
        await stage.until(lambda: REPO in stage.text)
        page = stage.app.screen
        place = next(n for n, one in enumerate(page.listed) if one.name == REPO)  # type: ignore[attr-defined]
        await stage.press(*["down"] * place, "enter")
        await stage.until(lambda: f"{REPO}" in stage.text and "HF_TOKEN" in flat(stage))
        assert stage.app.workspace.job is None and not stage.app.chat.query(ErrorCard)


@live
async def test_a_hub_that_refuses_is_a_card_and_f2_tries_again(
    tmp_path: Path, hub: server.Hub
) -> None:
    hub.token = "hf_right"
    async with staged(tmp_path) as stage:
        await choose(stage, NAME)
        await stage.press("enter", "escape")
        await stage.until(lambda: stage.app.chat.query(ErrorCard), 20)
        await stage.until(lambda: "no token is set (status 401)" in flat(stage))
