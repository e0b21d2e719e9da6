import os
import shutil
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.devices.speech import SpeechOutput
from app.devices.voices import command
from mlx_gemma4.errors import Gemma4Error
from tests.app.programs import Program

SAYING = """
cat > "$SAID/$$.now"
echo "$(cat "$SAID/$$.now")" >> "$SAID/begun"
sleep 0.02
[ -e "$SAID/slow" ] && { sleep 60 & echo $! > "$SAID/child"; wait; }
echo "$(cat "$SAID/$$.now")" >> "$SAID/said"
"""


@pytest.fixture
def said(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `say` that writes what it started and what it said to the end."""
    folder = tmp_path / "said"
    folder.mkdir()
    monkeypatch.setenv("SAID", str(folder))
    program("say", SAYING)
    return folder


@pytest.fixture
def speaker(said: Path) -> Iterator[SpeechOutput]:
    one = SpeechOutput(["say"])
    yield one
    one.close()


def wait(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no such files on a Mac, or it went in between
        return sys.platform == "darwin"
    return state != "Z"  # killed, and nobody waited for it


def test_an_answer_is_spoken_in_order_while_it_comes(speaker: SpeechOutput, said: Path) -> None:
    for piece in ("One", " is", " one. ", "Two", " `code`. Three"):
        speaker.add(piece)
    wait(lambda: lines(said / "said")[:1] == ["One is one."])
    speaker.finish()
    wait(lambda: not speaker.speaking)
    assert lines(said / "said") == ["One is one.", "Two code.", "Three"]


def test_stop_kills_the_voice_in_mid_sentence_with_its_children(
    speaker: SpeechOutput, said: Path
) -> None:
    (said / "slow").touch()
    speaker.add("A long sentence. Another one. ")
    wait(lambda: lines(said / "child"))
    child = int(lines(said / "child")[0])
    assert speaker.speaking and alive(child)
    speaker.stop()  # it would last a minute
    wait(lambda: not alive(child))
    wait(lambda: not speaker.speaking)
    assert lines(said / "begun") == ["A long sentence."]
    assert lines(said / "said") == []
    assert speaker.problem is None


def test_after_a_stop_the_next_answer_is_spoken_from_its_beginning(
    speaker: SpeechOutput, said: Path
) -> None:
    (said / "slow").touch()
    speaker.add("First. And a half sentence")
    wait(lambda: lines(said / "begun"))
    speaker.stop()
    (said / "slow").unlink()
    speaker.add("Second. ")
    speaker.finish()
    wait(lambda: not speaker.speaking)
    assert lines(said / "said") == ["Second."]


def test_adding_words_never_waits_for_the_voice(speaker: SpeechOutput, said: Path) -> None:
    (said / "slow").touch()
    for _ in range(200):
        speaker.add("Again and again. ")
    # all were taken while the first, which lasts a minute, is not over
    wait(lambda: lines(said / "begun"))
    assert lines(said / "begun") == ["Again and again."] and lines(said / "said") == []
    assert speaker.speaking
    speaker.stop()


def test_the_program_is_told_when_it_begins_and_when_it_ends(said: Path) -> None:
    states: list[bool] = []
    holder: list[SpeechOutput] = []
    ended = threading.Event()

    def changed() -> None:
        states.append(holder[0].speaking)
        if not states[-1]:
            ended.set()

    speaker = SpeechOutput(["say"], changed)
    holder.append(speaker)
    speaker.add("One. Two. ")
    assert ended.wait(10)
    speaker.close()
    assert states == [True, False]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("echo 'Voice Nobody not found' >&2; exit 3", "Voice Nobody not found"),
        ("kill -SEGV $$", "it ended with status -11"),
    ],
)
def test_a_voice_that_fails_is_told_with_what_it_said(program: Program, end: str, why: str) -> None:
    program("say", f"cat > /dev/null; {end}")
    told = threading.Event()
    speaker = SpeechOutput(["say"], lambda: speaker.problem and told.set())
    speaker.add("One. Two. Three. ")
    assert told.wait(10)
    wait(lambda: not speaker.speaking)
    assert speaker.problem is not None and why in speaker.problem.cause
    speaker.close()


def test_a_voice_that_is_not_there_is_told() -> None:
    speaker = SpeechOutput(["/nowhere/say"])
    speaker.add("One. ")
    wait(lambda: speaker.problem)
    wait(lambda: not speaker.speaking)
    speaker.close()


def test_a_mac_has_say_and_a_linux_machine_espeak(
    monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    program("say", "")
    program("espeak-ng", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert command("Anna", 200) == ["say", "-v", "Anna", "-r", "200", "-f", "-"]
    monkeypatch.setattr(sys, "platform", "linux")
    assert command("", 180) == ["espeak-ng", "-s", "180", "--stdin"]


def test_a_machine_without_a_voice_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Gemma4Error, match="apt install espeak-ng"):
        command()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_speaks_a_sentence_and_faster_at_a_higher_rate(tmp_path: Path) -> None:
    seconds = []
    for rate in (120, 300):
        path = tmp_path / f"{rate}.wav"
        speaker = SpeechOutput([*command("en", rate), "-w", str(path)])
        speaker.add("The total of the receipt is nineteen fifty six. ")
        wait(lambda speaker=speaker: not speaker.speaking)
        speaker.close()
        assert speaker.problem is None
        with wave.open(str(path)) as file:
            seconds.append(file.getnframes() / file.getframerate())
    assert 1 < seconds[1] < seconds[0] < 10


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_says_that_a_voice_is_not_known() -> None:
    known = subprocess.run(
        [*command("xx-nobody"), "--stdout"], input=b"x", capture_output=True
    ).returncode
    assert known > 0
    speaker = SpeechOutput([*command("xx-nobody"), "--stdout"])
    speaker.add("One. ")
    wait(lambda: speaker.problem)
    speaker.close()
