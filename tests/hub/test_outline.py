from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_gemma4 import cli
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import estimate, summary
from tests.hub.server import Hub
from tests.unit.checkpoints import publish

REPO = "google/gemma-4-shards"


@pytest.fixture
def published(hub: Hub, tmp_path: Path) -> Path:
    publish(tmp_path / "published", 2)
    hub.files[REPO] = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    return tmp_path / "published"


def test_only_settings_and_headers_are_asked_of_the_hub(hub: Hub, published: Path) -> None:
    here, there = summary.of_folder(published), summary.of(REPO)
    assert there.tensors == here.tensors
    assert estimate.weights(there.model, estimate.mac(16)) == estimate.weights(
        here.model, estimate.mac(16)
    )
    assert not hub.asked("tokenizer.json")
    ranges = hub.asked("/model-")
    assert ranges and all(asked is not None for asked in ranges)
    assert not any(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))


@pytest.mark.usefixtures("published")
def test_the_table_of_a_repository_needs_no_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", REPO, "--memory", "16"]) == 0
    assert "known from the Hub (" in capsys.readouterr().out


@pytest.mark.usefixtures("hub")
def test_offline_only_the_hub_s_own_models_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert summary.of("google/gemma-4-12B").source == "its published architecture"
    with pytest.raises(Gemma4Error, match="HF_HUB_OFFLINE is set"):
        summary.of(REPO)
