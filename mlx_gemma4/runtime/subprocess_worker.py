"""A worker in a process of its own: what crashes MLX does not take the terminal with it.

Knows nothing of MLX; `child.py` is what the process runs. Commands and reports are pickled through
a socket pair. A thread writes and a thread reads, so that nothing waits for a busy child.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from ..cluster.hosts import Hosts
from ..errors import Gemma4Error
from .client import Client
from .commands import Command, Load
from .reports import Closed, Crashed, Failed, Report
from .threads import start_thread

PATIENCE = 20.0
"""Seconds that the process has to end by itself: a chunk, or loading a model, is not cut short."""
LOG_BYTES = 1 << 20
"""A log that is longer than this is emptied when the process starts."""


class SubprocessWorker(Client):
    """A worker in a child process, with the interface of `Worker`.

    When the process ends by itself, commands that wait are reported as `Failed`, a report of no
    command is `Crashed`, and `start` starts it again; then a model must be loaded, and the
    conversations opened.

    Args:
        log: the file that the process's log and its other output are added to; None: nothing is
            kept.
        hosts: other computers that hold a part of each model that is loaded.
    """

    def __init__(self, log: Path | None = None, hosts: Hosts | None = None) -> None:
        super().__init__()
        self._log = log
        self._hosts = hosts
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int | None:
        """The process's id; None when it does not run."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the process unless it runs."""
        with self._lock:
            if self._process is not None or self._closing:
                return
            ours, theirs = Pipe()
            if self._log is not None and self._log.exists():
                if self._log.stat().st_size > LOG_BYTES:
                    self._log.write_bytes(b"")
            # who holds the model, for others that would load one (`footprint/held.py`)
            program = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
            with theirs, Path(self._log or os.devnull).open("ab") as log:
                self._process = process = subprocess.Popen(
                    # -P: modules in the working directory must not hide the library's
                    [sys.executable, "-P", "-m", f"{__package__}.child", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "GEMMA4_PROGRAM": f"{os.getpid()} {program}"},
                )
            outgoing: deque[tuple[int, Command] | None] = deque()
            self._outgoing = outgoing
            start_thread(lambda: self._write(ours, outgoing), "commands", self._defect)
            self._reader = start_thread(
                lambda: self._read(process, ours, outgoing), "reports", self._defect
            )

    def send(self, command: Command) -> int:
        """Ask for something, as `Client.send` does.

        Raises:
            Gemma4Error: as there, and if the process has crashed and was not started again.
        """
        with self._lock:
            if self._process is None and not self._closing:
                raise Gemma4Error(
                    "worker_not_running",
                    "The worker is not running",
                    "Its process has ended.",
                    "Start it again.",
                )
            if isinstance(command, Load) and command.hosts is None:
                command = replace(command, hosts=self._hosts)
            return super().send(command)

    def close(self) -> None:
        """End the process, by force if it does not end within PATIENCE seconds."""
        with self._lock:
            if not self._closing and self._process is None:
                self._end()
            self._closing = True
            self._outgoing.clear()
            self._outgoing.append(None)
            self._lock.notify_all()
        self._reader.join(PATIENCE)
        if (process := self._process) is not None:
            process.kill()
            self._reader.join()

    def _accept(self, number: int, command: Command) -> None:
        self._outgoing.append((number, command))

    def _write(self, pipe: Connection, outgoing: deque[tuple[int, Command] | None]) -> None:
        """Pass commands on until None, or until the process is gone."""
        while True:
            with self._lock:
                self._lock.wait_for(lambda: outgoing)
                message = outgoing.popleft()
            try:
                pipe.send(message)
            except OSError:
                return  # the reader meets the end too, and reports it
            except Exception as error:  # what cannot be pickled
                assert message is not None
                number, command = message
                conversation = getattr(command, "conversation", None)
                self._report(Report(number, Failed.of(error), conversation))
            if message is None:
                return

    def _read(
        self,
        process: subprocess.Popen[bytes],
        pipe: Connection,
        outgoing: deque[tuple[int, Command] | None],
    ) -> None:
        """Pass reports on until the process ends, and report how it ended."""
        crash = None
        with contextlib.suppress(EOFError, OSError):
            while not isinstance(event := (report := pipe.recv()).event, Closed):
                if isinstance(event, Crashed):  # the process knows why it ends
                    crash = event
                    break
                self._report(report)
        status = process.wait()
        with self._lock:
            outgoing.append(None)  # for the writer
            self._lock.notify_all()
            self._process = None
            if self._closing:
                self._end()
                return
        self._crash(crash or _crash(status, self._log))

    def _defect(self, failed: Failed) -> None:
        self._report(Report(None, failed))


def _crash(status: int, log: Path | None) -> Crashed:
    if status < 0:
        cause = f"Its process was ended by {signal.Signals(-status).name}."
    else:
        cause = f"Its process ended with status {status}."
    if status == -signal.SIGABRT:
        cause += " MLX does that when the memory is not enough."
    if log is not None:
        cause += f" {log} may have more."
    return Crashed(
        "worker_crashed",
        "The model's worker has stopped",
        cause,
        "Start it again and load the model.",
    )
