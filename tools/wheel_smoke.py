"""Ask an installed `gemma4` the demonstration's questions, start its terminal program and run its
self-test, from an empty folder outside the clone.

python tools/wheel_smoke.py PATH-OF-GEMMA4
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"
ASKED = (
    (["what is the total?", "--image", str(DEMO / "receipt.png")], "19.56"),
    (["--audio", str(DEMO / "digits.wav")], "40715"),
    (["--image", str(DEMO / "receipt.png"), "--audio", str(DEMO / "question.wav")], "19.56"),
)


SPEEDS = {"first token after live sound", "live hearing", "prefill", "decode"}
"""Rows of the self-test that a busy machine may fail."""


def main() -> None:
    """Run the commands; the exit status is 1 where an answer is wrong."""
    program = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        for question, right in ASKED:
            done = subprocess.run(
                [program, "ask", *question], cwd=folder, capture_output=True, text=True
            )
            print(f"gemma4 ask {' '.join(question)}: {done.stdout.strip()}")
            if done.returncode or done.stdout.strip() != right:
                raise SystemExit(f"expected {right}; status {done.returncode}\n{done.stderr}")
        _start(program, folder)
        subprocess.run([program, "selftest"], cwd=folder)
        rows = json.loads((Path(folder) / "gemma4-selftest.json").read_text())["rows"]
        failed = {row["name"] for row in rows if row["status"] == "fail"} - SPEEDS
        if failed or len(rows) < 20:
            raise SystemExit(f"the self-test failed: {failed or rows}")


def _start(program: Path, folder: str) -> None:
    """Start the terminal program in a pseudo-terminal, until it welcomes a newcomer; end it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    home = {"HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}
    environment = {**os.environ, **home, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [program], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder
    ) as running:
        os.close(theirs)
        shown, end = b"", time.monotonic() + 90
        while b"Welcome" not in shown:
            if running.poll() is not None or time.monotonic() > end:
                running.kill()
                raise SystemExit(f"gemma4 does not start: {shown[-2000:]!r}")
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 65536)
        print("gemma4: it welcomes a newcomer")
        running.send_signal(signal.SIGHUP)
        os.close(ours)


if __name__ == "__main__":
    main()
