import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mlx_gemma4.evaluate.run import RESULTS, read

ASK = "import sys; from mlx_gemma4.cli import main; sys.exit(main())"
QUESTION = ("eval", "quant", "--limit", "2", "--recipes", "4bit", "--sets", "tiny-text",
            "tiny-picture")  # fmt: skip
ITEMS = 2 * 2 * 2  # as it is and in 4 bits, text and pictures


def begin(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", ASK, *QUESTION, "--out", str(out)],
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
    assert begin(whole).wait(timeout=120) == 0

    process, results = begin(killed), killed / RESULTS
    ends = time.monotonic() + 120
    while not results.is_file() or results.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < ends
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "report.md").exists()
    kept = results.read_bytes()
    half = kept.splitlines(keepends=True)[-1][:40]
    results.write_bytes(kept[: kept.rfind(b"\n") + 1] + half)
    done = kept.count(b"\n")
    assert 3 <= done < ITEMS

    assert begin(killed).wait(timeout=120) == 0
    assert len(read(results)) == ITEMS
    assert results.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])  # none is asked again
    assert len(tables(whole)) > 30
    assert tables(killed) == tables(whole)
