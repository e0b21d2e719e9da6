"""A worker that crashes while it loads is started again, some times."""

from collections.abc import Sequence
from typing import Any

from mlx_gemma4.runtime.commands import Load
from mlx_gemma4.serve.engine import RESTARTS
from mlx_gemma4.testing.scripted_worker import ScriptedWorker, _CrashError

from .serving import asked, chat, said, served, text, until


class FragileWorker(ScriptedWorker):
    """Crashes in the loads of these numbers."""

    def __init__(self, crashes: Sequence[int]) -> None:
        self.loads, self._crashes = 0, crashes
        super().__init__()

    def _do(self, number: int, command: Any, name: str | None) -> None:
        if isinstance(command, Load):
            self.loads += 1
            if self.loads in self._crashes:
                raise _CrashError
        super()._do(number, command, name)


def test_a_crash_while_the_model_is_loaded_again_is_survived() -> None:
    worker = FragileWorker([2, 3])
    with served(worker) as client:
        worker.crash()
        until(lambda: worker.loads == 4 and client.engine.failed is None)
        assert said(chat(client, asked(text("hello")))) == "Yes."


def test_a_model_whose_load_crashes_each_time_is_not_loaded_for_ever() -> None:
    worker = FragileWorker(range(100))
    with served(worker) as client:
        until(lambda: worker.loads > RESTARTS)
        for _ in range(20):
            assert client.get("/health").json()["status"] == "failed"
        assert worker.loads == RESTARTS + 1
