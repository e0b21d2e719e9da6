"""Run programs of others against the server with the tiny model: `make clients`.

    python -m tools.clients.run PYTHON NODE_FOLDER

PYTHON is that of an environment with the Python clients; NODE_FOLDER has a node_modules. Prints a
line for each check; the status is 1 where one failed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_gemma4.events import ToolCall
from mlx_gemma4.serve.client_settings import settings_text
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.serve.serving import DIGITS, RECEIPT, served

HERE = Path(__file__).parent


@contextmanager
def server() -> Iterator[str]:
    """The address of a server with the tiny model."""
    command = [sys.executable, "-m", "mlx_gemma4.cli", "serve", "--port", "0"]
    command[1:3] = ["-c", "import sys; from mlx_gemma4.cli import main; sys.exit(main())"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split(" at ")[1].strip().removesuffix("/v1")
        process.terminate()


def pi(node: Path) -> list[str]:
    """Let pi call one of its tools and answer, with a worker that does so by a script."""
    call = ToolCall("call_1", "bash", {"command": "echo found-$((40 + 2))"})
    worker = ScriptedWorker([[call], "The files are listed."])
    with served(worker) as client, tempfile.TemporaryDirectory() as home:
        folder = Path(home, ".pi", "agent")
        folder.mkdir(parents=True)
        settings = settings_text("pi", str(client.base_url).rstrip("/"), "tiny")
        (folder / "models.json").write_text(settings)
        command = [node / "node_modules" / ".bin" / "pi", "--provider", "gemma", "--model", "tiny"]
        run = subprocess.run(
            [*command, "-p", "list the files"],
            env={**os.environ, "HOME": home},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        sent = json.dumps([repr(one) for one in worker.accepted])
    said = "The files are listed." in run.stdout
    returned = "found-42" in sent
    seen = run.stdout.strip() or run.stderr.strip()[:400]
    return [
        f"{'ok' if said else 'FAILED'}\tpi: an answer after a tool\t{seen}",
        f"{'ok' if returned else 'FAILED'}\tpi: its tool's result came back\t{returned}",
    ]


def main() -> int:
    """Run all; return the status."""
    python, node = sys.argv[1], Path(sys.argv[2]).resolve()
    shutil.copy(HERE / "node_clients.mjs", node)  # node looks for packages beside the script
    lines: list[str] = []
    with server() as root:
        for command in (
            [python, HERE / "python_clients.py"],
            ["node", node / "node_clients.mjs"],
        ):
            run = subprocess.run(
                [*command, root, RECEIPT, DIGITS], capture_output=True, text=True, check=False
            )
            lines += [line for line in run.stdout.splitlines() if "\t" in line]
            if run.returncode:
                lines.append(f"FAILED\t{command[1]}\t{run.stderr[-600:]}")
    lines += pi(node)
    print("\n".join(lines))
    return any(line.startswith("FAILED") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
