"""A computer that is lost in a reply: an error that names it, nothing hangs, and all ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import mlx_gemma4
from mlx_gemma4.cluster import ssh
from mlx_gemma4.cluster.control import ControlLine
from mlx_gemma4.cluster.crew import Crew, WorkerProcess
from mlx_gemma4.cluster.hosts import LOCAL, Hosts
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
                crew.send(lost, "what is no message")
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


def lose_while_connecting(number: int, folder: str) -> list[str]:
    """In a leader: a worker is killed when all have got the command to connect; the error."""
    tell = Crew.send

    def told(crew: Crew, worker: WorkerProcess, *message: object) -> None:
        tell(crew, worker, *message)
        if message[0] == "ring" and worker is crew.workers[-1]:
            os.kill(crew.workers[number].pid, signal.SIGKILL)

    Crew.send = told  # type: ignore[method-assign]
    try:
        mlx_gemma4.load(folder, hosts=Hosts(("local", "local"), patience=120))
    except Gemma4Error as error:
        return [error.code, error.title]
    return []


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_is_lost_while_the_ring_is_connected_is_named(
    number: int, folders: dict[str, str]
) -> None:
    result = lead(MODULE, "lose_while_connecting", number, folders["tiny fp32"])
    assert result == ["host_lost", f"local ({number + 1}) is lost"]


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
ring._init(0, [ring.free_port()] * 2)
"""


def test_nothing_is_left_where_ctrl_c_comes_while_the_ring_is_made() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDED)
    assert "KeyboardInterrupt" in done.stderr
    assert not runs(int(done.stdout))


IN_A_TERMINAL = """
import os, signal, socket
from mlx_gemma4.cluster import ring
signal.signal(signal.SIGINT, lambda *_: None)  # Python sees it when MLX has returned
start = ring.subprocess.Popen
def started(*arguments, **options):
    process = start(*arguments, **options)
    os.killpg(0, signal.SIGINT)
    return process
ring.subprocess.Popen = started
with socket.create_server(("127.0.0.1", 0)) as server:
    left = socket.create_connection(server.getsockname())
    right, _ = server.accept()
print(ring.connect(0, 2, left, right).size, flush=True)
os._exit(0)
"""


def test_ctrl_c_in_a_terminal_does_not_end_what_mlx_waits_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_TERMINAL],
        capture_output=True, text=True, timeout=ENDED, start_new_session=True,
    )  # fmt: skip
    assert done.stdout == "2\n", done.stderr


def test_closing_the_control_line_does_not_wait_for_a_worker_that_does_not_read() -> None:
    with Path(os.devnull).open("wb") as nothing, ThreadPoolExecutor(2) as pool:
        process = ssh.start(LOCAL, ["sleep", "600"], nothing)
        assert process.stdin is not None and process.stdout is not None
        line = ControlLine(process.stdout, process.stdin)
        try:
            sending = pool.submit(line.send, "x" * (1 << 20))
            while select.select([], [process.stdin], [], 0)[1]:
                time.sleep(0.01)
            pool.submit(process.stdin.close).result(ENDED)
        finally:
            process.kill()
            process.wait()
        with pytest.raises(OSError):
            sending.result(ENDED)


def test_ctrl_c_ends_a_leader_whose_worker_is_frozen() -> None:
    question = ["ask", "Count.", "--model", "tiny", "--max-tokens", "9000", "--temperature", "2"]
    leader = subprocess.Popen(
        [sys.executable, "-c", "import sys; from mlx_gemma4.cli import main; sys.exit(main())",
         *question, "--hosts", LOCAL],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert leader.stdout is not None and leader.stdout.read(1)
        every = Path(f"/proc/{leader.pid}/task").glob("*/children")
        children = {int(pid) for path in every for pid in path.read_text().split()}
        (worker,) = [
            pid
            for pid in children
            if b"cluster.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(worker, signal.SIGSTOP)
        leader.send_signal(signal.SIGINT)
        assert leader.wait(ENDED) == 130
        os.kill(worker, signal.SIGCONT)
        assert not runs(worker)
    finally:
        leader.kill()
        leader.communicate()
