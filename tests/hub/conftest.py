from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from mlx_gemma4.footprint import device
from mlx_gemma4.footprint.estimate import mac
from mlx_gemma4.hub import transfer
from tests.hub import server

REPO = "google/gemma-4-tiny"
NAME, QUANTIZED = "google/gemma-4-12B-it", "mlx-community/gemma-4-12B-it-4bit"
TINY = Path(__file__).parents[2] / "assets/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[server.Hub]:
    """A Hub of this test's own, with one model of 600,000 bytes, and an empty cache."""
    rng = np.random.default_rng(0)
    state = server.Hub(
        files={
            REPO: {
                "config.json": b'{"model_type": "gemma4_unified"}',
                "tokenizer.json": b"{}",
                "model.safetensors": rng.bytes(600_000),
                "original.bin": rng.bytes(1000),
                "README.md": b"a card",
            }
        }
    )
    running = server.start(state)
    template = state.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", state.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.02))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield state
    running.shutdown()
    running.server_close()
    close_session()


@pytest.fixture
def published(hub: server.Hub, monkeypatch: pytest.MonkeyPatch) -> server.Hub:
    """The Hub with the tiny models as those of 12B, and a computer that they fit."""
    for name, folder in ((NAME, TINY), (QUANTIZED, TINY.with_name("tiny-4bit"))):
        hub.files[name] = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr(device, "this", lambda: mac(16))
    return hub
