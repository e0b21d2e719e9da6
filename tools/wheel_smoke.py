"""Ask an installed `gemma4` the demonstration's questions, from an empty folder outside the clone.

python tools/wheel_smoke.py PATH-OF-GEMMA4
"""

import subprocess
import sys
import tempfile
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo"
ASKED = (
    (["what is the total?", "--image", str(DEMO / "receipt.png")], "19.56"),
    (["--audio", str(DEMO / "digits.wav")], "40715"),
    (["--image", str(DEMO / "receipt.png"), "--audio", str(DEMO / "question.wav")], "19.56"),
)


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


if __name__ == "__main__":
    main()
