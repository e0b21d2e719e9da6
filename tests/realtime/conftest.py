from collections.abc import Iterator

import httpx2
import pytest

from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from tests.serve.serving import served


@pytest.fixture(scope="session")
def server() -> Iterator[httpx2.Client]:
    """A client of a server with the tiny model."""
    with served(SubprocessWorker()) as client:
        yield client
