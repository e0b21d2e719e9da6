import pytest

from mlx_gemma4.media import other_formats


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_formats, "_pyav", lambda: None)
