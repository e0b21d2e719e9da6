"""A worker in a process of its own: the same answers, and a crash that the program outlives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Token
from mlx_gemma4.media.audio import frames
from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.reports import Closed, Crashed, Failed, Finished, Hearing, ImageAdded
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.testing.doubles import tones
from tests.runtime.reading import answer, done, first, read, until

SETTINGS = commands.SessionSettings(image_tokens=70)
REPLY = commands.Reply(12, 1.0, seed=1)
SOUND = frames(tones([300, 2000], 1.0))


@pytest.fixture(scope="module")
def worker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SubprocessWorker]:
    """One process for all tests of this file; it is started again by those that crash it."""
    with SubprocessWorker(tmp_path_factory.mktemp("log") / "worker.log") as worker:
        done(worker, commands.Load(folder))
        done(worker, commands.Open(settings=SETTINGS))
        yield worker


def test_a_conversation_through_a_process_is_that_of_a_thread(worker: SubprocessWorker) -> None:
    (added, *_) = done(worker, commands.AddImage(Image.new("RGB", (96, 96), "white")))
    assert added == ImageAdded((96, 96), (384, 384), 64)
    speech = worker.send(commands.Hear(SOUND[:15]))
    assert worker.send(commands.Hear(SOUND[15:])) == speech
    worker.send(commands.EndSpeech())
    heard = [r.event for r in until(worker, speech) if isinstance(r.event, Hearing)]
    assert heard[-1].heard == pytest.approx(1.0)
    events = done(worker, REPLY)
    assert answer(events)
    assert sum(isinstance(event, Done) for event in events) == 1
    with pytest.raises(Gemma4Error, match="nothing.png"):
        done(worker, commands.AddImage("nothing.png"))


def test_frames_with_their_times_go_through_a_process(worker: SubprocessWorker) -> None:
    done(worker, commands.Open(settings=SETTINGS))
    frame = Image.new("RGB", (96, 96), "white")
    done(worker, commands.AddVideo([(0.0, frame), (5.0, np.asarray(frame))]))
    (end,) = (event for event in done(worker, REPLY) if isinstance(event, Done))
    assert end.stats["prompt_tokens"] > 2 * 64
    with pytest.raises(Gemma4Error, match="The video is not usable"):
        done(worker, commands.AddVideo([]))


def test_a_stop_reaches_a_reply_that_is_being_drawn(worker: SubprocessWorker) -> None:
    done(worker, commands.Open(settings=SETTINGS))
    done(worker, commands.AddText("hello"))
    worker.send(commands.Reply(4000, 1.0, seed=1))
    first(worker, Token)
    worker.send(commands.Stop())
    end = first(worker, Done).event
    assert isinstance(end, Done)
    assert end.reason == "cancelled"
    assert end.stats["reply_tokens"] < 4000


def test_what_cannot_be_sent_fails_and_the_process_goes_on(worker: SubprocessWorker) -> None:
    with pytest.raises(Gemma4Error, match="The program has a defect"):
        done(worker, commands.AddImage(lambda: None))  # type: ignore[arg-type]
    assert done(worker, commands.Stop()) == [Finished()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_reported_and_the_worker_starts_again(
    worker: SubprocessWorker, folder: Path, number: signal.Signals
) -> None:
    done(worker, commands.Open(settings=SETTINGS))
    done(worker, commands.AddText("hello"))
    reply = worker.send(commands.Reply(4000, 1.0, seed=1))
    later = worker.send(commands.AddText("later"))
    first(worker, Token)
    assert worker.pid is not None
    os.kill(worker.pid, number)
    failed = [first(worker, Failed), read(worker)]
    assert [report.command for report in failed] == [reply, later]
    report = read(worker)
    assert report.command is None
    assert isinstance(report.event, Crashed)
    assert number.name in report.event.cause
    assert report.event.title and report.event.remedy
    assert worker.pid is None
    with pytest.raises(Gemma4Error, match="is not running"):
        worker.send(commands.AddText("hello"))
    worker.start()
    done(worker, commands.Load(folder))
    done(worker, commands.Open())
    done(worker, commands.AddText("hello"))
    assert answer(done(worker, REPLY))


def test_closing_ends_the_process_in_the_middle_of_a_reply(folder: Path) -> None:
    worker = SubprocessWorker()
    done(worker, commands.Load(folder))
    done(worker, commands.Open())
    done(worker, commands.AddText("hello"))
    reply = worker.send(commands.Reply(4000, 1.0, seed=1))
    first(worker, Token)
    pid = worker.pid
    assert pid is not None
    worker.close()
    *reports, last = worker
    assert last.event == Closed()
    assert any(r.command == reply and isinstance(r.event, Finished | Failed) for r in reports)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PROGRAM = """
import os, signal
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.runtime.commands import Stop
import sys
worker = SubprocessWorker()
list(worker.until(worker.send(Stop())))
print(worker.pid, flush=True)
assert "mlx" not in sys.modules
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_process_does_not_outlive_its_program_which_never_loads_mlx() -> None:
    program = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert program.returncode == -signal.SIGKILL, program.stderr
    pid, deadline = int(program.stdout), time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":  # ended; nobody has asked for its status
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()
