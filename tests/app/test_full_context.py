"""With the program's own settings a full context loses its oldest turns, and no open question."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.conversation.controller import worker_settings
from app.settings import Settings
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Dropped, Token
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import Idle
from mlx_gemma4.runtime.worker import Worker
from tests.runtime.reading import done, first


def test_a_paste_that_is_too_long_costs_nothing_and_one_that_fits_the_oldest_turns(
    folder: Path, tmp_path: Path
) -> None:
    settings = replace(worker_settings(Settings(), tmp_path / "parked"), context=400)

    def read(worker: Worker) -> float:
        (end,) = [one for one in done(worker, do.Reply(2, 0.0)) if isinstance(one, Done)]
        return end.stats["prompt_tokens"]

    with Worker() as worker:
        done(worker, do.Load(folder))
        done(worker, do.Open(settings=settings))
        for _ in range(2):
            done(worker, do.AddText("a" * 80))
            before = read(worker)
        done(worker, do.AddText("q" * 450))
        with pytest.raises(Gemma4Error) as error:
            done(worker, do.Reply(2, 0.0))
        assert error.value.code == "context_full"
        done(worker, do.Discard())
        first(worker, Idle)
        done(worker, do.AddText("b" * 20))
        assert read(worker) > before + 20
        done(worker, do.AddText("q" * 300))
        events = done(worker, do.Reply(2, 0.0))
        assert [one.turns for one in events if isinstance(one, Dropped)] == [6]
        assert any(isinstance(one, Token) for one in events)
