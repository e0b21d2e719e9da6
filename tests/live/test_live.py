"""`gemma4 live` on the tiny model: a spoken question about a picture, heard while it is spoken."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_gemma4.cli import main
from mlx_gemma4.media.audio import RATE, open_sound

DEMO = Path(__file__).parents[2] / "assets" / "demo"
QUESTION = ["--audio", str(DEMO / "question.wav"), "--image", str(DEMO / "receipt.png")]
SECONDS = 1.13  # of the question


def test_a_question_about_a_receipt_is_heard_in_real_time_and_answered_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.json"
    assert main(["live", *QUESTION, "--realtime", "--trace", str(trace)]) == 0
    told = capsys.readouterr()
    assert told.out == "19.56\n"
    lines = [line.split(" s  ")[-1] for line in told.err.splitlines()]
    order = [
        next(n for n, line in enumerate(lines) if line.startswith(line_start))
        for line_start in (
            "speech starts",
            "end of speech",
            "first token",
            "end of the answer (stop)",
        )
    ]
    assert order == sorted(order)
    events = json.loads(trace.read_text())["traceEvents"]
    (speech,) = [event for event in events if event["name"] == "speech"]
    assert SECONDS - 0.1 < speech["dur"] / 1e6 < SECONDS + 0.5
    chunks = [event for event in events if event["name"] == "chunk"]
    assert any(chunk["ts"] < speech["ts"] + speech["dur"] for chunk in chunks)
    (prefill,) = [event for event in events if event["name"] == "prefill"]
    assert prefill["ts"] > speech["ts"] + 0.9 * speech["dur"]


@pytest.mark.parametrize("hearing", ["direct", "relay"])
def test_as_fast_as_it_is_heard_and_as_one_object(
    hearing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", *QUESTION, "--hearing", hearing, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == "19.56"
    assert told["heard"] == ("what is the total" if hearing == "relay" else "")
    assert told["seconds_after_speech"] > 0
    assert {"frames", "seconds", "backlog"} == set(told["chunks"][0])
    assert 10 <= sum(chunk["frames"] for chunk in told["chunks"]) <= 29


SILENT = """
from mlx_gemma4.capture import speechgate
from mlx_gemma4.cli import main
def fails(*_): raise ValueError("the moon is full")
speechgate.SpeechGate.add = fails
raise SystemExit(main())
"""


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_what_ends_a_thread_is_one_error_and_no_traceback_unless_it_is_wanted(debug: bool) -> None:
    command = [sys.executable, "-c", SILENT, "live", "--gate", "--audio", str(DEMO / "digits.wav")]
    command += ["--debug"] * debug
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "the moon is full" in done.stderr
    assert done.stderr.count("\nError: ") == 1
    assert ("Traceback" in done.stderr) is debug
    assert debug or "The thread live has failed" not in done.stderr


def test_a_limit_of_tokens_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--audio", str(DEMO / "digits.wav"), "--max-tokens", "1"]) == 0
    assert "end of the answer (length)" in capsys.readouterr().err


def test_a_sound_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--audio", "nothing.wav"]) == 2
    assert "There is no file nothing.wav" in capsys.readouterr().err


def with_quiet(seconds: float, path: Path, speech: bool = True) -> str:
    """The question in a microphone's quiet, or the quiet alone, as a wav file."""
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    sound = [quiet, open_sound(DEMO / "question.wav"), quiet] if speech else [quiet]
    soundfile.write(path, np.concatenate(sound), RATE)
    return str(path)


def test_through_the_gate_the_quiet_around_a_question_is_not_heard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = with_quiet(1.2, tmp_path / "question.wav")
    asked = ["live", "--audio", sound, "--image", str(DEMO / "receipt.png"), "--json"]
    assert main([*asked, "--gate"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == "19.56"
    heard = sum(chunk["frames"] for chunk in told["chunks"]) * 0.04
    assert heard < SECONDS + 0.5


def test_where_the_gate_finds_no_speech_it_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", "--audio", with_quiet(1.0, tmp_path / "q.wav", False), "--gate"]) == 2
    assert "Nobody speaks in this sound" in capsys.readouterr().err
