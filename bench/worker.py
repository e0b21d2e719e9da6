"""One side of a benchmark in its own process: reads a JSON line, does it, writes a JSON line.

    python bench/worker.py ours|peer [tuning]

Commands are the methods of `Side` in side_ours.py or side_peer.py, which have the same names,
arguments and results; or of those in tuning_ours.py and tuning_peer.py, which train, too. This file
adds what is measured alike on both: time, memory, versions.
"""

import importlib
import json
import platform
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import mlx.core as mx


def memory() -> dict[str, float]:
    """Bytes: MLX's peak since the last reset, what it holds now, and the process's peak so far."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak": mx.get_peak_memory(),
        "active": mx.get_active_memory(),
        "rss": rss if platform.system() == "Darwin" else rss * 1024,
    }


def versions(package: str) -> dict[str, str]:
    """What this process runs on."""
    result = {"python": platform.python_version(), "device": str(mx.default_device())}
    for name in ("mlx", package):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "from source"
    return result


def main() -> None:
    """Serve commands until the input ends."""
    name, module = sys.argv[1], "_".join([*(sys.argv[2:] or ["side"]), sys.argv[1]])
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not get between
    side = None
    for line in sys.stdin:
        request = json.loads(line)
        command, arguments = request["command"], request["arguments"]
        mx.reset_peak_memory()
        wall, cpu = time.perf_counter(), time.process_time()
        result = None
        if command == "versions":
            result = versions({"ours": "mlx-gemma4", "peer": "mlx-vlm"}[name])
        elif command == "import":
            importlib.import_module(module)
        elif command == "load":
            side = importlib.import_module(module).Side(**arguments)
        else:
            result = getattr(side, command)(**arguments)
        reply = {
            "result": result,
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            **memory(),
        }
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
