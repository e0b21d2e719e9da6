"""Try real clients of the Realtime API: `make clients-realtime`; status 1 where one fails.

Each runs in an environment for them alone (.venv-realtime, out/realtime), against a server with the
tiny model and one with a scripted worker, whose first answer is long enough to be interrupted.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve import certificate
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import DEMO, pcm
from tests.serve.serving import ASSETS, RECEIPT, served

FOLDER = Path(__file__).parent
NODE = FOLDER.parents[1] / "out" / "realtime"
PYTHON = FOLDER.parents[1] / ".venv-realtime" / "bin" / "python"
TINY = EngineOptions(str(ASSETS / "tiny"))
SECURE = ("openai_npm",)
"""Clients that take nothing but wss://."""
ANSWERS = [
    " ".join(["again"] * 400),
    "Yes.",
    [ToolCall("call_a", "weather", {"city": "Rome"})],
    "It is sunny.",
]


def program(file: Path) -> list[str | Path]:
    """The command that runs a client."""
    if file.suffix == ".py":
        return [PYTHON, "-W", "ignore", file]
    return ["node", shutil.copy(file, NODE)]  # node looks for packages beside the script


def main() -> int:
    """Run the clients that are named, or all."""
    files = {one.stem: one for one in FOLDER.glob("[!_.]*.*") if one.suffix in (".py", ".mjs")}
    failed = []
    with tempfile.TemporaryDirectory() as sounds:
        pem = Path(sounds, "own.pem")
        certificate.make(pem, ["127.0.0.1"])
        os.environ["NODE_EXTRA_CA_CERTS"] = str(pem)
        for sound in ("question", "digits"):
            Path(sounds, f"{sound}.pcm").write_bytes(pcm(DEMO / f"{sound}.wav"))
        for name in sys.argv[1:] or sorted(files):
            print(f"== {name}", flush=True)
            own = str(pem) if name in SECURE else None
            script = ScriptedWorker(ANSWERS, tokens_per_second=30)
            with (
                served(SubprocessWorker(), TINY, certificate=own) as tiny,
                served(script, TINY, certificate=own) as scripted,
            ):
                urls = [f"{str(one.base_url).rstrip('/')}/v1" for one in (tiny, scripted)]
                words = [*program(files[name]), *urls, sounds, RECEIPT]
                if subprocess.run(words, timeout=300).returncode:
                    failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all pass")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
