"""The ring over which tensors go: MLX's own (`mx.distributed`), with what it lacks.

MLX's ring has no authentication: it gets connections that were made and proved before (`links`).
It has no time-outs: an operation whose peer is frozen never returns. So operations run on threads
of their own, whoever waits for one can be released (`Ring.fail`), and then the sockets are shut
down.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import mlx.core as mx

from ..errors import Gemma4Error
from .hosts import LOST
from .links import free_port

Result = TypeVar("Result")

AHEAD = 2
"""Tensors that may be on their way in one direction, before the faster side waits."""
KNOWN = 2.0
"""Seconds in which a computer that has ended is found by its control line."""
_HERE = "127.0.0.1"
_DESCRIPTORS = 4096  # a ring's sockets are looked for among so many file descriptors


class Ring:
    """The connected ring of this process: there is one in its life, as MLX keeps it.

    Attributes:
        rank: of this process.
        size: how many there are.
    """

    def __init__(self, group: mx.distributed.Group, sockets: Sequence[int]) -> None:
        self.rank, self.size = group.rank(), group.size()
        self._group, self._sockets = group, sockets
        self._lost: Future[None] = Future()
        self._sending, self._receiving = _RingThread("ring-out"), _RingThread("ring-in")
        self._on_their_way: deque[Future[None]] = deque()
        self._room = threading.Semaphore(AHEAD)

    @property
    def right(self) -> int:
        """The rank to which this one passes on what it has computed."""
        return (self.rank + 1) % self.size

    @property
    def left(self) -> int:
        """The rank from which this one receives what it computes with."""
        return (self.rank - 1) % self.size

    def send(self, tensor: mx.array, to: int) -> None:
        """Send a tensor that is evaluated and contiguous to a neighbour; does not wait for it.

        Raises:
            Gemma4Error: the ring was failed.
        """
        while len(self._on_their_way) >= AHEAD:
            self._result(self._on_their_way.popleft())

        def work(stream: mx.Stream) -> None:
            mx.eval(mx.distributed.send(tensor, to, group=self._group, stream=stream))

        self._on_their_way.append(self._sending.submit(work))

    def flush(self) -> None:
        """Wait until everything is sent; errors as in `send`."""
        while self._on_their_way:
            self._result(self._on_their_way.popleft())

    def expect(self, shape: Sequence[int], dtype: mx.Dtype, source: int) -> Future[mx.array]:
        """Receive a tensor from a neighbour, once fewer than AHEAD others wait to be taken."""

        def work(stream: mx.Stream) -> mx.array:
            self._room.acquire()
            # by itself and on the CPU: a GPU that waits for a peer is ended by macOS (mlx#4475)
            tensor = mx.distributed.recv(shape, dtype, source, group=self._group, stream=stream)
            mx.eval(tensor)
            return tensor

        return self._receiving.submit(work)

    def take(self, expected: Future[mx.array], timeout: float | None = None) -> mx.array:
        """Wait for a tensor that is expected.

        Raises:
            Gemma4Error: the ring was failed.
            TimeoutError: it did not come in time.
        """
        tensor = self._result(expected, timeout)
        self._room.release()
        return tensor

    def receive(self, shape: Sequence[int], dtype: mx.Dtype, source: int) -> mx.array:
        """Wait for a tensor from a neighbour; errors as in `take`."""
        return self.take(self.expect(shape, dtype, source))

    def fail(self, error: BaseException) -> None:
        """Release whoever waits, now and later, with this error, and shut the sockets down."""
        with suppress(Exception):  # it was failed before
            self._lost.set_exception(error)
        self.shut()

    def shut(self) -> None:
        """Shut the sockets down: what waits in MLX for a neighbour ends with an error."""
        for descriptor in self._sockets:
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ours:
                ours.shutdown(socket.SHUT_RDWR)

    def _result(self, future: Future[Result], timeout: float | None = None) -> Result:
        waiting: list[Future[Any]] = [future, self._lost]
        done, _ = wait(waiting, timeout, FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        if future not in done:
            raise TimeoutError
        try:
            return future.result()
        except RuntimeError as error:  # the control line soon shows who has ended, and why
            wait([self._lost], KNOWN)
            if self._lost.done():
                self._lost.result()
            raise Gemma4Error(
                LOST,
                "The link is lost",
                f"The connection to a neighbour in the ring has ended ({error}).",
                "Check the cable, then start again.",
            ) from error


class _RingThread:
    """A thread that does one operation after another, on a stream of MLX of its own.

    It is a daemon: an operation whose peer is frozen must not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stream: mx.Stream | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[mx.Stream], Result]) -> Future[Result]:
        future: Future[Result] = Future()

        def job() -> None:
            try:
                if self._stream is None:  # it belongs to the thread
                    self._stream = mx.new_stream(mx.cpu)
                future.set_result(work(self._stream))
            except BaseException as error:  # it is raised where somebody waits
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def _run(self) -> None:
        while True:
            self._jobs.get()()


def connect(rank: int, size: int, left: socket.socket, right: socket.socket) -> Ring:
    """Make MLX's ring of connections to the neighbours, which are closed here.

    MLX connects by itself, to whoever comes first, and cannot be stopped while it waits. So it is
    connected to this computer only, and its two sockets are exchanged for those to the neighbours.

    Args:
        rank: of this process.
        size: how many ranks there are.
        left: the connection to the left neighbour; `right` is that to the right one.

    Raises:
        Gemma4Error: MLX has no ring, or none that can be used so.
    """
    with left, right, socket.create_server((_HERE, 0)) as beyond:
        own, other = free_port(), int(beyond.getsockname()[1])
        before = _open_sockets()
        try:
            group = _init(rank, [own if n == rank else other for n in range(size)])
        except RuntimeError as error:
            raise _unusable(f"It cannot be connected: {error}.") from error
        exchanged = []
        for descriptor in _open_sockets() - before:
            with socket.socket(fileno=os.dup(descriptor)) as one:
                ports = one.getsockname()[1], one.getpeername()[1]
            for neighbour, its in ((left, own == ports[0]), (right, other == ports[1])):
                if its:
                    neighbour.setblocking(False)  # as MLX has set its own
                    os.dup2(neighbour.fileno(), descriptor, inheritable=False)
                    exchanged.append(descriptor)
    if len(exchanged) != 2:
        raise _unusable(f"{len(exchanged)} of its 2 sockets were found.")
    return Ring(group, exchanged)


def _init(rank: int, ports: Sequence[int]) -> mx.distributed.Group:
    """MLX's ring over ports of this computer.

    While MLX waits for somebody to connect, no thread of this process can run: another process
    connects, which Ctrl-C leaves alone, and which ends with this one.
    """
    code = (
        "import os, socket, sys, time\n"
        "while os.getppid() == int(sys.argv[3]):\n"
        "    try: socket.create_connection((sys.argv[1], int(sys.argv[2]))); break\n"
        "    except OSError: time.sleep(0.01)"
    )
    arguments = [sys.executable, "-P", "-S", "-c", code, _HERE, str(ports[rank]), str(os.getpid())]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as hosts:
        json.dump([[f"{_HERE}:{port}"] for port in ports], hosts)
        hosts.flush()
        os.environ |= {"MLX_HOSTFILE": hosts.name, "MLX_RANK": str(rank)}
        nothing = subprocess.DEVNULL
        caller = subprocess.Popen(
            arguments, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
        try:
            return mx.distributed.init(strict=True, backend="ring")
        finally:
            caller.kill()
            caller.wait()


def _unusable(cause: str) -> Gemma4Error:
    return Gemma4Error(
        "ring_unusable",
        "MLX's ring cannot be used",
        cause,
        "Install the version of MLX that this version of mlx-gemma4 was made for.",
    )


def _open_sockets() -> set[int]:
    found = set()
    for descriptor in range(_DESCRIPTORS):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.add(descriptor)
    return found
