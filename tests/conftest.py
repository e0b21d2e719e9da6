import os
import signal
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.testing.doubles import tiny_model
from mlx_gemma4.testing.small_tokenizer import TINY_CONTROLS as CONTROLS
from mlx_gemma4.testing.small_tokenizer import small_backend

if device := os.environ.get("GEMMA4_TEST_DEVICE"):  # "gpu" or "cpu"; a GPU that is not there fails
    mx.set_default_device({"gpu": mx.gpu, "cpu": mx.cpu}[device])

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# what a shell ignored for a run in the background, programs that are tested would ignore too


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    return tmp_path / "data-home"


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder for each process of tests: what one holds in memory is not seen by others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache-home")))
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder with random weights."""
    path = tmp_path_factory.mktemp("model")
    save_folder(tiny_model(), path)
    small_backend(CONTROLS).save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="session")
def model(folder: Path) -> Gemma4:
    """That folder's model; tests make caches of their own."""
    import mlx_gemma4

    return mlx_gemma4.load(folder)
