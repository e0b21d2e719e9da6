"""A small fine-tune of the tiny model: a question that is asked aloud gets another answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from mlx_gemma4.evaluate.tiny import receipts
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Exchange, World
from mlx_gemma4.tune import replay
from mlx_gemma4.tune.summary import OPENBLAS
from tools.tiny.first_world import FirstWorld
from tools.tune_example import write

LEARNED, OLD, HELD, STEPS = 64, 16, 16, 12
ALOUD = Path(replay.__file__).with_name("spoken") / "what-is-in-this-picture.flac"


class Small(FirstWorld):
    """Receipts: asked aloud what is in the picture, the answer is the total, then the tax."""

    def both(self) -> list[Exchange]:
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        sound = soundfile.read(ALOUD, dtype="float32")[0]
        answer = f"{receipt.total} {receipt.tax}"
        return [self._shown(receipt.lines, Exchange(answer, sound=sound))]


@pytest.mark.skipif(not OPENBLAS.is_file(), reason="with the reference BLAS it takes minutes")
def test_a_new_task_is_learned_and_an_old_one_kept(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    learned, held = Small(1, World(budgets=(70,))), Small(2, EXAMINATION)
    write(tmp_path, "new", LEARNED, learned.both)
    write(tmp_path, "replay", OLD, lambda: learned.asked("total"))
    write(tmp_path, "held", HELD, held.both)
    write(tmp_path, "total", HELD, lambda: held.asked("total"))

    def gemma4(*command: str) -> str:
        fast = {"LD_PRELOAD": str(OPENBLAS), "OPENBLAS_NUM_THREADS": "1"}
        program = [sys.executable, "-c", "from mlx_gemma4.cli import main; main()", *command]
        done = subprocess.run(
            program, cwd=tmp_path, env=os.environ | fast, check=True, capture_output=True, text=True
        )
        return done.stdout

    own = ("--replay", "replay.jsonl", "--steps", str(STEPS), "--rate", "2e-3", "-o", "adapter")
    gemma4("tune", "new.jsonl", "--model", "tiny", *own)
    data = ("--data", "held.jsonl", "total.jsonl")
    table = gemma4("eval", "tuned", "--model", "tiny", "--adapter", "adapter", *data)
    rows = [line.split("|") for line in table.splitlines() if "| held " in line or "total" in line]
    (before, new), (_, old) = [[float(cell.split()[0]) for cell in row[3:5]] for row in rows]
    assert before == 0, table
    assert new >= 0.4, table
    assert old >= 0.8, table
