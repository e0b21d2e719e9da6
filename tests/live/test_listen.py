"""`gemma4 listen` at a real microphone."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.null_sink import missing, sound_server, with_silence

__all__ = ["sound_server"]

DEMO = Path(__file__).parents[2] / "assets" / "demo"
# A shell that starts the tests in the background lets their programs ignore Ctrl-C: undo that.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mlx_gemma4.cli import main
sys.exit(main())
"""
GEMMA4 = [sys.executable, "-c", PROGRAM]

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"this machine lacks {missing()}")


def lines_of(stream: object) -> Queue[str]:
    """The lines of a stream as they come."""
    lines: Queue[str] = Queue()

    def read() -> None:
        for line in stream:  # type: ignore[attr-defined]
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_a_question_that_is_spoken_into_the_microphone_is_answered_right(
    sound_server: dict[str, str], tmp_path: Path
) -> None:
    listen = subprocess.Popen(
        [*GEMMA4, "listen", "--image", str(DEMO / "receipt.png")],
        env=sound_server,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, answers = lines_of(listen.stderr), lines_of(listen.stdout)
        told = ""
        while "Listening to" not in told:
            told += said.get(timeout=60)
        while "The microphone is silent" not in told:  # it hears: the sink's zeros
            told += said.get(timeout=20)
        question = with_silence(DEMO / "question.wav", tmp_path)
        subprocess.run(["paplay", str(question)], env=sound_server, check=True, timeout=20)
        assert answers.get(timeout=30) == "19.56\n"
        while "after the end of speech" not in told:
            told += said.get(timeout=20)
        listen.send_signal(signal.SIGINT)
        assert listen.wait(30) == 0
        with pytest.raises(Empty):
            answers.get_nowait()
        assert "Error" not in told
    finally:
        listen.kill()
