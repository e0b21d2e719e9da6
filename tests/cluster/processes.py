"""Programs of these tests: a leader each, as MLX has one ring in the life of a process.

What a function of a test file returns in such a process comes back as JSON.
"""

import json
import os
import subprocess
import sys
from typing import Any

LIMIT = 1800 if os.environ.get("GEMMA4_WHOLE_CLUSTER") else 240
"""Seconds after which a leader that hangs is killed, with its workers."""

PROGRAM = """
import importlib, json, os, sys
function = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
result = function(*json.loads(sys.argv[3]))
print("RESULT", json.dumps(result), flush=True)
os._exit(0)  # MLX aborts at an exit while an operation waits for a neighbour that is frozen
"""


def lead(module: str, function: str, *arguments: Any, **variables: str) -> Any:
    """Call a function in a process of its own, and return what it returns."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, function, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "MLX_DISABLE_COMPILE": "1", **variables},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, done.stdout + done.stderr
    return json.loads(lines[-1].removeprefix("RESULT "))
