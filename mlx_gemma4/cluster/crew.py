"""A leader's workers: they are started, compared and watched, and their loss is reported.

A worker that has ended closes its control line; one that is frozen, or behind a cable that was
pulled, shows no sign of life. Whichever comes first fails the ring, which releases whoever waits.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import secrets
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, Queue
from typing import IO, Any

from .. import threads
from ..errors import Gemma4Error
from . import facts, links, mac, ssh
from .control import PROTOCOL, ControlLine, Message
from .hosts import LOCAL, LOST, Facts, Hosts
from .ring import KNOWN, Ring, connect

STARTING = 40.0
"""Seconds that a worker has to report what it is: a Mac that is asked the first time is slow."""
_LOOK = 0.5  # seconds between two looks for signs of life
_BEAT = 1.0
_ENDING = 2.0  # seconds that a worker has to end by itself


class WorkerProcess:
    """A worker as the leader sees it: the process of ssh or its own, and its control line."""

    def __init__(self, host: str, rank: int, hosts: Hosts) -> None:
        self.host, self.rank = host, rank
        self.name = f"{host} ({rank})" if hosts.names.count(host) > 1 else host
        self.replies: Queue[Message] = Queue()
        self.quiet = 0
        self.facts: Facts
        self.layers = range(0)
        self._printed: IO[bytes] = tempfile.TemporaryFile()
        self._remote, self._greeted, self._overdue = hosts.command, False, False
        arguments = ["--keep-layers"] if hosts.keep else []
        if hosts.folder is not None:
            arguments += ["--folder", hosts.folder]
        command = ssh.command(host, hosts.command, arguments)
        self._process = ssh.start(host, command, self._printed)
        assert self._process.stdin is not None and self._process.stdout is not None
        self.line = ControlLine(self._process.stdout, self._process.stdin)
        late = threading.Timer(STARTING, self._end_overdue)
        late.daemon = True
        late.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def greet(self) -> None:
        """Wait for what the worker reports of itself, and compare its versions.

        Raises:
            Gemma4Error: it did not start, or is of another version.
        """
        hello = self.line.receive() if self.line.find() else None
        self._greeted = True
        if hello is None and self._overdue:
            raise self.ended(ssh.silent(self.host, STARTING))
        if hello is None:
            failure = ssh.failure(self.host, self.status(), self.printed(), self._remote)
            raise self.ended(failure)
        if hello[0] == "failed":
            raise _reported(self.host, hello)
        value: dict[str, Any] = hello[1] if len(hello) > 1 and isinstance(hello[1], dict) else {}
        versions = [
            ("the protocol", value.get("protocol"), PROTOCOL),
            ("mlx-gemma4", value.get("version"), facts.installed("mlx-gemma4")),
            ("MLX", value.get("mlx"), facts.installed("mlx")),
        ]
        if differing := [one for one in versions if one[1] != one[2]]:
            there = ", ".join(f"{name} {other}" for name, other, _ in differing)
            here = ", ".join(f"{name} {own}" for name, _, own in differing)
            raise Gemma4Error(
                "host_version",
                f"{self.host} has another version",
                f"There it is {there}, here {here}.",
                "Install the same version of mlx-gemma4 and of mlx on all of them.",
                {"host": self.host},
            )
        try:
            self.facts = Facts.read(value)
        except (KeyError, TypeError) as error:
            raise self.ended(_not_understood(self, error)) from error

    def status(self, timeout: float = 0.5) -> int | None:
        """How the process ended; None where it still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def printed(self) -> str:
        """What went to its stderr."""
        self._printed.seek(0)
        return self._printed.read(1 << 16).decode(errors="replace")

    def ended(self, error: Gemma4Error) -> Gemma4Error:
        """End the process, and return the error."""
        self.close()
        return error

    def _end_overdue(self) -> None:
        if not self._greeted:
            self._overdue = True
            self._process.kill()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the process: by closing its control line, then by force."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self.status(_ENDING) is None:
            self._process.kill()
            self._process.wait()


class Crew:
    """All workers of this process.

    Args:
        hosts: where they are.

    Attributes:
        workers: in the order of their ranks, from 1 on.
        lost: why the crew cannot be used any more; None while it can.
        watchers: called, from a thread, with the error when it is lost.

    Raises:
        Gemma4Error: one cannot be started, is of another version, or cannot be reached.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.workers: list[WorkerProcess] = []
        self.lost: Gemma4Error | None = None
        self.watchers: set[Callable[[Gemma4Error], object]] = set()
        self.arrived: Callable[[int, Message], object] = lambda rank, message: None
        self._later: deque[Message] = deque()  # from finalizers, which may run within a send
        self._numbers = 0
        self._losing = threading.Lock()
        self._closed = threading.Event()
        self._ring: Ring | None = None
        try:
            for rank, host in enumerate(hosts.names, start=1):
                self.workers.append(WorkerProcess(host, rank, hosts))
            for worker in self.workers:
                worker.greet()
            self._connect()
        except BaseException:
            self._closed.set()
            self._end_workers()
            raise
        mac.stay_awake()
        atexit.register(self.close)

    @property
    def ring(self) -> Ring:
        assert self._ring is not None, "it is connected in the beginning"
        return self._ring

    def number(self) -> int:
        """A number that nothing else in the crew has."""
        self._numbers += 1
        return self._numbers

    def check(self) -> None:
        """Raise the error with which the crew was lost, if it was."""
        if self.lost is not None:
            raise self.lost

    def broadcast(self, *message: object) -> None:
        """Send a message to every worker, after the waiting ones of `later`.

        Raises:
            Gemma4Error: the crew is lost.
        """
        while self._later:
            waiting = self._later.popleft()
            for worker in self.workers:
                self.send(worker, *waiting)
        for worker in self.workers:
            self.send(worker, *message)

    def send(self, worker: WorkerProcess, *message: object) -> None:
        """Send a message to one worker; errors as in `broadcast`."""
        self.check()
        try:
            worker.line.send(*message)
        except OSError:
            self._lose(worker, self._reason(worker))
            self.check()

    def later(self, *message: object) -> None:
        """Send a message before the next one; may be called anywhere, even in a finalizer."""
        self._later.append(list(message))

    def reply(self, worker: WorkerProcess, about: str) -> Message:
        """Wait for a worker's reply; errors as in `broadcast`."""
        while True:
            self.check()
            with contextlib.suppress(Empty):
                message = worker.replies.get(timeout=_LOOK)
                if message[0] == about:
                    return message

    def close(self) -> None:
        """End the workers, and wait until they have ended."""
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self.close)
        if self.lost is None:
            self.lost = Gemma4Error(
                LOST, "The workers were ended", "The program ended them.", "Start it again."
            )
        if self._ring is not None:
            self._ring.fail(self.lost)
        self._end_workers()

    def _connect(self) -> None:
        """Connect the ring, in which the leader is rank 0."""
        for worker in self.workers:
            failed = functools.partial(self._misunderstood, worker)
            threads.start(functools.partial(self._read, worker), f"from {worker.name}", failed)
        threads.start(self._watch, "signs of life", self._unwatched)
        own = self.workers[-1].facts.leader  # as the rank that connects to it sees it
        with links.Listener(own) as listener:
            places: list[links.Place] = [("the leader", own, listener.port)]
            for worker in self.workers:
                self.send(worker, "listen")
                port = int(self.reply(worker, "listening")[1])
                places.append((worker.name, worker.facts.address, port))
            nonce = secrets.token_hex(32)
            for worker in self.workers:
                self.send(worker, "ring", worker.rank, places, nonce)
            try:
                left, right = links.join(listener, 0, places, nonce, self.check)
            except Gemma4Error:
                deadline = time.monotonic() + KNOWN
                while self.lost is None and time.monotonic() < deadline:
                    time.sleep(_LOOK / 10)
                self.check()  # a worker has ended, or has reported why
                raise
        self._ring = connect(0, len(places), left, right)
        for worker in self.workers:
            self.reply(worker, "connected")

    def _read(self, worker: WorkerProcess) -> None:
        """Take in what a worker sends, until its line is closed."""
        while (message := worker.line.receive()) is not None:
            worker.quiet = 0
            if message[0] == "failed":
                self._lose(worker, _reported(worker.name, message))
            elif message[0] == "stepped":
                self.arrived(worker.rank, message)
            elif message[0] != "alive":
                worker.replies.put(message)
        self._lose(worker, self._reason(worker))

    def _watch(self) -> None:
        """Look for signs of life, and send one; count looks, as this process may be frozen too."""
        last = time.monotonic()
        while not self._closed.wait(_LOOK):
            if time.monotonic() - last >= _BEAT:
                last = time.monotonic()
                with contextlib.suppress(Gemma4Error):
                    self.broadcast("alive")
            for worker in self.workers:
                worker.quiet += 1
                if worker.quiet * _LOOK >= self.hosts.patience:
                    seconds = f"{self.hosts.patience:g}"
                    self._lose(worker, _lost(worker, f"It was silent for {seconds} s."))

    def _misunderstood(self, worker: WorkerProcess, error: Exception) -> None:
        self._lose(worker, _not_understood(worker, error))

    def _unwatched(self, error: Exception) -> None:
        worker = self.workers[0]
        self._lose(worker, _lost(worker, f"Nobody watches it any more ({error!r})."))

    def _reason(self, worker: WorkerProcess) -> Gemma4Error:
        status = worker.status()
        where = "Its worker" if worker.host == LOCAL else "The connection, or its worker,"
        how = "was closed" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            how = f"was ended by signal {-status}"
        return _lost(worker, f"{where} {how}.")

    def _lose(self, worker: WorkerProcess, error: Gemma4Error) -> None:
        with self._losing:  # two may end at once, and one is the cause
            if self.lost is not None or self._closed.is_set():
                return
            self.lost = error
        worker.kill()  # a frozen one would keep a pipe full
        if self._ring is not None:
            self._ring.fail(error)
        try:
            for watcher in self.watchers:
                watcher(error)
        finally:
            self._end_workers()

    def _end_workers(self) -> None:
        for worker in self.workers:
            worker.close()


def _reported(host: str, message: Message) -> Gemma4Error:
    _, code, title, cause, remedy = message
    return Gemma4Error(code, title, f"On {host}: {cause}", remedy, {"host": host})


def _not_understood(worker: WorkerProcess, error: Exception) -> Gemma4Error:
    return _lost(worker, f"What it sends is not understood ({error!r}).")


def _lost(worker: WorkerProcess, cause: str) -> Gemma4Error:
    remedy = "Check that it is awake and the cable is plugged in, then start again."
    return Gemma4Error(
        LOST,
        f"{worker.name} is lost",
        f"{cause} It holds layers of the model, and nothing is computed without them.",
        "Start again." if worker.host == LOCAL else remedy,
        {"host": worker.name},
    )
