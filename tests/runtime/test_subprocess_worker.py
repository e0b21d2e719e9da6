"""The engine in a process of its own: the same answers, and a crash that the program outlives."""

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
from tests.unit.engines import answer, done, first, read, until

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Token
from mlx_gemma4.media.audio import frames
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.runtime.reports import Closed, Crashed, Failed, Finished, Hearing, ImageAdded
from mlx_gemma4.runtime.subprocess_worker import EngineProcess
from mlx_gemma4.testing.doubles import tones

REPLY = do.Reply(12, 1.0, seed=1)
SOUND = frames(tones([300, 2000], 1.0))


@pytest.fixture(scope="module")
def engine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One process for all tests of this file; it is started again by those that crash it."""
    with EngineProcess(tmp_path_factory.mktemp("log") / "engine.log") as engine:
        done(engine, do.Load(folder, do.Settings(image_tokens=70)))
        yield engine


def test_a_conversation_through_a_process_is_that_of_a_thread(engine: EngineProcess) -> None:
    (added, *_) = done(engine, do.AddImage(Image.new("RGB", (96, 96), "white")))
    assert added == ImageAdded((96, 96), (384, 384), 64)
    speech = engine.send(do.Hear(SOUND[:15]))
    assert engine.send(do.Hear(SOUND[15:])) == speech
    engine.send(do.EndSpeech())
    heard = [r.event for r in until(engine, speech) if isinstance(r.event, Hearing)]
    assert heard[-1].heard == pytest.approx(1.0)
    events = done(engine, REPLY)
    assert answer(events)
    assert sum(isinstance(event, Done) for event in events) == 1
    with pytest.raises(Gemma4Error, match="nothing.png"):
        done(engine, do.AddImage("nothing.png"))


def test_frames_with_their_times_go_through_a_process(engine: EngineProcess) -> None:
    done(engine, do.New())
    frame = Image.new("RGB", (96, 96), "white")
    done(engine, do.AddVideo([(0.0, frame), (5.0, np.asarray(frame))]))
    (end,) = (event for event in done(engine, REPLY) if isinstance(event, Done))
    assert end.stats["prompt_tokens"] > 2 * 64
    with pytest.raises(Gemma4Error, match="The video is not usable"):
        done(engine, do.AddVideo([]))


def test_a_stop_reaches_a_reply_that_is_being_told(engine: EngineProcess) -> None:
    done(engine, do.New())
    done(engine, do.AddText("hello"))
    engine.send(do.Reply(4000, 1.0, seed=1))
    first(engine, Token)
    engine.send(do.Stop())
    end = first(engine, Done).event
    assert isinstance(end, Done)
    assert end.reason == "cancelled"
    assert end.stats["reply_tokens"] < 4000


def test_what_cannot_be_sent_fails_and_the_process_goes_on(engine: EngineProcess) -> None:
    with pytest.raises(Gemma4Error, match="The engine met a defect"):
        done(engine, do.AddImage(lambda: None))  # type: ignore[arg-type]
    assert done(engine, do.Stop()) == [Finished()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_told_and_the_engine_starts_again(
    engine: EngineProcess, folder: Path, number: signal.Signals
) -> None:
    done(engine, do.New())
    done(engine, do.AddText("hello"))
    reply = engine.send(do.Reply(4000, 1.0, seed=1))
    later = engine.send(do.AddText("later"))
    first(engine, Token)
    assert engine.pid is not None
    os.kill(engine.pid, number)
    failed = [first(engine, Failed), read(engine)]
    assert [report.command for report in failed] == [reply, later]
    report = read(engine)
    assert report.command is None
    assert isinstance(report.event, Crashed)
    assert number.name in report.event.cause
    assert report.event.title and report.event.remedy
    assert engine.pid is None
    with pytest.raises(Gemma4Error, match="does not run"):
        engine.send(do.AddText("hello"))
    engine.start()
    done(engine, do.Load(folder))
    done(engine, do.AddText("hello"))
    assert answer(done(engine, REPLY))


def test_closing_ends_the_process_in_the_middle_of_a_reply(folder: Path) -> None:
    engine = EngineProcess()
    done(engine, do.Load(folder))
    done(engine, do.AddText("hello"))
    reply = engine.send(do.Reply(4000, 1.0))
    first(engine, Token)
    pid = engine.pid
    assert pid is not None
    engine.close()
    *reports, last = engine
    assert last.event == Closed()
    assert any(r.command == reply and isinstance(r.event, Finished | Failed) for r in reports)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PROGRAM = """
import os, signal
from mlx_gemma4.engine.process import EngineProcess
from mlx_gemma4.engine.commands import Stop
import sys
engine = EngineProcess()
list(engine.until(engine.send(Stop())))
print(engine.pid, flush=True)
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
