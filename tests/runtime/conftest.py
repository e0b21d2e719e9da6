from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.worker import Worker
from tests.runtime.reading import SETTINGS, done


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    with Worker() as worker:
        done(worker, commands.Load(folder))
        done(worker, commands.Open(settings=SETTINGS))
        yield worker
