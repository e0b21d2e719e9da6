"""`load`: a model that is not on this machine, and its download."""

from pathlib import Path

import mlx.core as mx
import pytest

import mlx_gemma4 as g4
from mlx_gemma4.footprint import device
from mlx_gemma4.footprint.estimate import Machine
from tests.hub.conftest import REPO
from tests.hub.server import Hub


@pytest.fixture
def published(hub: Hub, folder: Path) -> Hub:
    """The Hub with a whole model of random weights."""
    hub.files[REPO] = {file.name: file.read_bytes() for file in folder.iterdir()}
    return hub


def test_a_model_that_is_not_here_is_an_error_with_its_size_and_the_command(hub: Hub) -> None:
    with pytest.raises(g4.Gemma4Error) as caught:
        g4.load("google/gemma-4-12B-it")
    error = caught.value
    assert error.code == "model_missing"
    assert error.facts["bytes"] == 23_919_460_448
    assert error.facts["command"] == "gemma4 get google/gemma-4-12B-it"
    assert "23.92 GB" in error.cause and str(error.facts["command"]) in error.remedy
    assert not hub.requests


def test_it_is_downloaded_where_that_is_asked_for(published: Hub) -> None:
    with pytest.raises(g4.Gemma4Error, match="not on this machine"):
        g4.load(REPO)
    model = g4.load(REPO, download=True)
    assert model.forward([20, 21]).shape == (1, 2, 512)
    asked = len(published.requests)
    g4.load(REPO, download=True)  # it is here now
    assert len(published.requests) == asked


def test_what_does_not_fit_is_not_downloaded(
    published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Machine("a small computer", 1000, "a rule", "cpu", 4)
    monkeypatch.setattr(device, "this", lambda: small)
    with pytest.raises(g4.Gemma4Error) as caught:
        g4.load(REPO, download=True)
    assert caught.value.code == "memory_too_small"
    weights = len(published.files[REPO]["model.safetensors"])
    assert sum(size for path, size in sent(published) if "safetensors" in path) < weights / 2


def sent(hub: Hub) -> list[tuple[str, int]]:
    """Paths that were asked for, with the bytes of each answer at most."""
    result = []
    for _, path, span in hub.requests:
        whole = len(hub.files[REPO].get(path.rsplit("/", 1)[-1], b""))
        first, last = (str(span or "").removeprefix("bytes=").split("-") + [""])[:2]
        result.append((path, int(last) - int(first) + 1 if last.isdigit() else whole))
    return result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", mx.float16])
def test_a_type_is_given_by_its_name_or_as_mlx_has_it(folder: Path, dtype: str | mx.Dtype) -> None:
    model = g4.load(folder, dtype=dtype)
    expected = getattr(mx, dtype) if isinstance(dtype, str) else dtype
    assert model.tensors()["language_model.model.norm.weight"].dtype == expected


@pytest.mark.parametrize("dtype", ["float8", "int8", "", mx.int8, 3])
def test_another_type_is_refused_with_those_that_there_are(folder: Path, dtype: object) -> None:
    with pytest.raises(g4.Gemma4Error, match="float32, bfloat16, float16") as caught:
        g4.load(folder, dtype=dtype)  # type: ignore[arg-type]
    assert caught.value.code == "setting_unknown"


@pytest.mark.parametrize("named", [3, b"x"])
@pytest.mark.parametrize("what", ["adapter", "drafter"])
def test_an_adapter_and_a_drafter_of_another_type_are_refused(
    folder: Path, what: str, named: object
) -> None:
    with pytest.raises(g4.Gemma4Error, match="There is no (adapter|model)"):
        g4.load(folder, **{what: named})  # type: ignore[arg-type]
