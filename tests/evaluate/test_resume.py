import os
import signal
import subprocess
import sys
from pathlib import Path

from mlx_gemma4.evaluate.run import RESULTS, read

ASK = """
import os, signal, sys
from mlx_gemma4.cli import main
from mlx_gemma4.evaluate import run

left, measure = int(sys.argv.pop(1)), run._measure

def measured(*arguments):  # so many, then it is killed
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return measure(*arguments)

run._measure = measured
sys.exit(main())
"""
QUESTION = ("eval", "quant", "--limit", "2", "--recipes", "4bit", "--sets", "tiny-text",
            "tiny-picture")  # fmt: skip
ITEMS = 2 * 2 * 2  # as it is and in 4 bits, text and pictures


def ask(out: Path, kill_after: int = -1) -> int:
    """Run it, and return the status with which it ended."""
    return subprocess.call(
        [sys.executable, "-c", ASK, str(kill_after), *QUESTION, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def tables(out: Path) -> list[str]:
    lines = (out / "report.md").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("|")]


def test_a_run_that_was_killed_and_whose_last_line_is_damaged_ends_with_the_same_tables(
    tmp_path: Path,
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    results = killed / RESULTS
    assert ask(whole) == 0
    assert ask(killed, kill_after=3) == -signal.SIGKILL
    assert not (killed / "report.md").exists()
    kept = results.read_bytes()
    half = kept.splitlines(keepends=True)[-1][:40]
    results.write_bytes(kept[: kept.rfind(b"\n") + 1] + half)
    assert kept.count(b"\n") == 3

    assert ask(killed) == 0
    assert len(read(results)) == ITEMS
    assert results.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])  # none is asked again
    assert len(tables(whole)) > 30
    assert tables(killed) == tables(whole)
