"""Try real clients of the Realtime API: `make clients-realtime`; status 1 where one fails.

Each runs in an environment of their own (.venv-realtime), against a server with the tiny model and
one with a scripted worker, whose first answer is long enough to be interrupted.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import DEMO, pcm
from tests.serve.serving import ASSETS, RECEIPT, served

FOLDER = Path(__file__).parent
PYTHON = FOLDER.parents[1] / ".venv-realtime" / "bin" / "python"
TINY = EngineOptions(str(ASSETS / "tiny"))
ANSWERS = [
    " ".join(["again"] * 400),
    "Yes.",
    [ToolCall("call_a", "weather", {"city": "Rome"})],
    "It is sunny.",
]


def main() -> int:
    """Run the clients that are named, or all."""
    names = sys.argv[1:] or sorted(one.stem for one in FOLDER.glob("[!_]*.py"))
    failed = []
    with tempfile.TemporaryDirectory() as sounds, served(SubprocessWorker(), TINY) as tiny:
        for sound in ("question", "digits"):
            Path(sounds, f"{sound}.pcm").write_bytes(pcm(DEMO / f"{sound}.wav"))
        for name in names:
            print(f"== {name}", flush=True)
            with served(ScriptedWorker(ANSWERS, tokens_per_second=30), TINY) as scripted:
                urls = [f"{str(one.base_url).rstrip('/')}/v1" for one in (tiny, scripted)]
                words = [PYTHON, "-W", "ignore", FOLDER / f"{name}.py", *urls, sounds, RECEIPT]
                if subprocess.run(words, timeout=300).returncode:
                    failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all pass")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
