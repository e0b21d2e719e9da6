"""`gemma4 serve` of what is not on this machine ends before it listens."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlx_gemma4 import cli
from mlx_gemma4.cluster import ssh
from mlx_gemma4.hub import cache
from mlx_gemma4.runtime import subprocess_worker
from mlx_gemma4.serve import app


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What would have been served."""
    found: list[Any] = []
    monkeypatch.setattr(app, "run", lambda *given: found.append(given))
    monkeypatch.setattr(app, "config", lambda *given: given)
    monkeypatch.setattr(subprocess_worker, "SubprocessWorker", lambda *given: None)
    monkeypatch.setattr(cache, "_home", lambda: tmp_path)  # where the Hub keeps models
    monkeypatch.delenv(ssh.ENGINE, raising=False)
    return found


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (["--model", "google/gemma-4-12B-it"], "is not on this machine"),
        (["--model", "nonsense"], "There is no model nonsense"),
        (["--model", "tiny:nonsense"], "There is no adapter nonsense"),
        (["--model", "tiny", "--drafter", "nonsense"], "There is no model nonsense"),
    ],
)
def test_it_is_an_error_before_it_listens(
    served: list[Any], arguments: list[str], title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--port", "0", *arguments]) == 2
    printed = capsys.readouterr()
    assert title in " ".join(printed.err.split()) and not printed.out
    assert not served


def test_what_is_here_is_served(served: list[Any]) -> None:
    assert cli.main(["serve", "--port", "0", "--model", "tiny"]) == 0
    assert len(served) == 1


def test_the_folder_of_a_log_is_made(served: list[Any], tmp_path: Path) -> None:
    log = tmp_path / "new" / "serve.log"
    assert cli.main(["serve", "--port", "0", "--model", "tiny", "--log", str(log)]) == 0
    assert served and log.parent.is_dir()


def test_one_engine_of_several_may_lack_it(
    served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ssh.server("local", "sh -c 'echo $GEMMA4_ENGINE'", [])
    # its end is that of what it reads, which stays open
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.read() == "1\n"
    monkeypatch.setenv(ssh.ENGINE, "1")
    assert cli.main(["serve", "--port", "0", "--model", "google/gemma-4-12B-it"]) == 0
    assert len(served) == 1
