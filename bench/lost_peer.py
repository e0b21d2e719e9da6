"""How soon a lost computer is noticed: `python bench/lost_peer.py`. Workers on this machine.

Prints, for each way of being lost, the seconds until the reply ends with an error, of ROUNDS runs.
Each run is a process of its own, as MLX has one ring in the life of a process.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 3
WAYS = {
    "ended (SIGKILL)": "SIGKILL",
    "frozen (SIGSTOP)": "SIGSTOP",
    "an exception there": "exception",
    "the link, both alive": "link",
    "the leader killed": "leader",
}


def main() -> None:
    """Print the table, or measure one run of one way."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])), flush=True)
        os._exit(0)
    print(f"{'':22}{'seconds (median, least to most)':>32}")
    for name, way in WAYS.items():
        command = [sys.executable, __file__, way]
        if way == "leader":
            seconds = [leader_killed() for _ in range(ROUNDS)]
        else:
            runs = [subprocess.run(command, capture_output=True, text=True) for _ in range(ROUNDS)]
            seconds = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
        middle = statistics.median(seconds)
        print(f"{name:22}{middle:12.2f}   ({min(seconds):.2f} to {max(seconds):.2f})", flush=True)


def measure(way: str) -> float:
    """Lose the worker in a reply; the seconds until the error."""
    from mlx_gemma4 import Gemma4Error, Session, load
    from mlx_gemma4.cluster.hosts import Hosts
    from mlx_gemma4.cluster.leader import LeadingModel

    model = load("tiny", hosts=Hosts(("local",)))
    assert isinstance(model, LeadingModel)
    if way == "leader":
        print(model.crew.workers[0].pid, flush=True)
        time.sleep(600)
    session = Session(model)
    session.add_text("Read the receipt.")
    crew, started = model.crew, 0.0
    try:
        while True:
            for _ in session.reply(1000, temperature=2.0):
                if started:
                    continue
                started = time.perf_counter()
                if way == "exception":
                    crew.send(crew.workers[0], "what is no message")
                elif way == "link":
                    crew.ring.shut()
                else:
                    os.kill(crew.workers[0].pid, getattr(signal, way))
            session.add_text("And again.")
    except Gemma4Error:
        return time.perf_counter() - started


def leader_killed() -> float:
    """Kill a leader; the seconds until its worker has ended."""
    leader = subprocess.Popen(
        [sys.executable, __file__, "leader"], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    worker = Path("/proc", leader.stdout.readline().strip())
    leader.kill()
    started = time.perf_counter()
    leader.wait()
    while runs(worker):
        time.sleep(0.01)
    return time.perf_counter() - started


def runs(process: Path) -> bool:
    """Whether a process of /proc has not ended; one that nobody waits for is "Z"."""
    try:
        return process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
