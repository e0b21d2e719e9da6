"""A computer that is lost in a reply: an error that names it, nothing hangs, and all ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mlx_gemma4
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.cluster.leader import LeadingModel
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Token
from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.reports import Crashed, Failed, Loaded, Sending
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.session.session import Session
from tests.cluster.processes import lead
from tests.runtime.reading import answer, done, first

MODULE = "tests.cluster.test_lost"
ENDED = 60
"""Seconds in which what should end has to, on a machine that has other things to do."""


def lose(how: str, number: int, hosts: list[str], folder: str) -> dict[str, Any]:
    """In a leader: lose a worker after the third token; what is known then."""
    patience = 3 if how == "SIGSTOP" else 120
    model = mlx_gemma4.load(folder, hosts=Hosts(tuple(hosts), patience=patience))
    assert isinstance(model, LeadingModel)
    crew = model.crew
    lost, pids = crew.workers[number], [worker.pid for worker in crew.workers]
    session = Session(model)
    session.add_text("hello")
    tokens, code, title = 0, "", ""
    try:
        for event in session.reply(3000, temperature=1.0, seed=1):
            tokens += isinstance(event, Token)
            if tokens != 3:
                continue
            if how == "exception":
                crew.tell_one(lost, "what is no message")
            elif how == "link":
                crew.ring.shut()
            else:
                os.kill(lost.pid, getattr(signal, how))
    except Gemma4Error as error:
        code, title = error.code, error.title
    again, last = "", session.turns[-1]
    session.add_text("go on")
    try:
        [*session.reply(3)]
    except Gemma4Error as error:
        again = error.code
    crew.close()
    return {
        "code": code,
        "again": again,
        "title": title,
        "kept": tokens >= 3 and last.role == "model" and last.interrupted,
        "running": [pid for pid in pids if runs(pid)],
    }


def runs(pid: int) -> bool:
    """Whether a process has not ended within ENDED seconds."""
    deadline = time.monotonic() + ENDED
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("how", "number", "hosts", "title"),
    [
        ("SIGKILL", 0, ["local"], "local is lost"),
        ("SIGKILL", 0, ["local", "local"], "local (1) is lost"),
        ("SIGKILL", 1, ["local", "local"], "local (2) is lost"),
        ("SIGSTOP", 0, ["local"], "local is lost"),
    ],
)
def test_a_worker_that_is_lost_in_a_reply_is_named_and_what_was_answered_is_kept(
    how: str, number: int, hosts: list[str], title: str, folders: dict[str, str]
) -> None:
    result = lead(MODULE, "lose", how, number, hosts, folders["tiny fp32"])
    assert result == {
        "code": "host_lost", "again": "host_lost", "title": title, "kept": True, "running": [],
    }  # fmt: skip


def test_a_worker_that_fails_reports_why(folders: dict[str, str]) -> None:
    result = lead(MODULE, "lose", "exception", 0, ["local"], folders["tiny fp32"])
    assert (result["code"], result["title"]) == ("internal_error", "A worker has failed")
    assert result["kept"] and result["running"] == []


def test_a_link_that_breaks_while_both_live_is_an_error(folders: dict[str, str]) -> None:
    result = lead(MODULE, "lose", "link", 0, ["local"], folders["tiny fp32"])
    assert (result["code"], result["kept"], result["running"]) == ("host_lost", True, [])


LEADER = """
import sys, time
import mlx_gemma4
from mlx_gemma4.cluster.hosts import Hosts
model = mlx_gemma4.load(sys.argv[1], hosts=Hosts(("local", "local"), patience=120))
print(*(worker.pid for worker in model.crew.workers), flush=True)
time.sleep(600)
"""


def test_workers_end_with_a_leader_that_is_killed(folders: dict[str, str]) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER, folders["tiny fp32"]], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    pids = [int(pid) for pid in leader.stdout.readline().split()]
    assert len(pids) == 2
    leader.kill()
    leader.wait()
    assert [pid for pid in pids if runs(pid)] == []


def test_the_program_gets_one_report_and_goes_on_after_a_restart(folders: dict[str, str]) -> None:
    folder = folders["tiny fp32"]
    with SubprocessWorker(hosts=Hosts(("local",), patience=120)) as worker:
        worker.send(commands.Load(folder))
        sending = first(worker, Sending).event
        assert isinstance(sending, Sending)
        assert (sending.host, sending.done) == ("local", 0) and sending.total > 50_000
        first(worker, Loaded)
        done(worker, commands.Open())
        done(worker, commands.AddText("hello"))
        worker.send(commands.Reply(3000, 1.0, seed=1))
        first(worker, Token)
        assert worker.pid is not None
        every = Path(f"/proc/{worker.pid}/task").iterdir()
        children = [pid for task in every for pid in (task / "children").read_text().split()]
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        failed = first(worker, Failed)
        assert isinstance(failed.event, Failed) and failed.event.code == "host_lost"
        crashed = first(worker, Crashed)
        assert isinstance(crashed.event, Crashed)
        assert (crashed.event.code, crashed.event.title) == ("host_lost", "local is lost")
        worker.start()
        done(worker, commands.Load(folder))
        done(worker, commands.Open())
        done(worker, commands.AddText("hello"))
        assert answer(done(worker, commands.Reply(5, 1.0, seed=1)))


INTERRUPTED = """
import subprocess
from mlx_gemma4.cluster import ring
start = subprocess.Popen
def interrupted(*arguments, **options):
    print(start(*arguments, **options).pid, flush=True)
    raise KeyboardInterrupt
ring.subprocess.Popen = interrupted
ring._init(0, [ring.free_port("127.0.0.1")] * 2)
"""


def test_nothing_is_left_where_ctrl_c_comes_while_the_ring_is_made() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDED)
    assert "KeyboardInterrupt" in done.stderr
    assert not runs(int(done.stdout))
