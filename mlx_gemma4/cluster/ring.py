"""The ring over which tensors go: MLX's own (`mx.distributed`), with what it lacks.

MLX's ring has no authentication: after it is connected, each rank proves to its right neighbour
that it knows a nonce, before any tensor. It has no time-outs: it connects with the interpreter
locked, and an operation whose peer is frozen never returns. So operations run on threads of their
own, whoever waits for one can be released (`Ring.fail`), and then the sockets are shut down.
"""

from __future__ import annotations

import hashlib
import hmac
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
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np

from ..errors import Gemma4Error
from .hosts import LOST

Address = tuple[str, int]
Result = TypeVar("Result")

AHEAD = 2
"""Tensors that may be on their way in one direction, before whoever is faster waits."""
CONNECTING = 45.0
"""Seconds after which a rank gives up; MLX's ring itself tries for 31 to find the next one."""
PROVING = 10.0
"""Seconds that the left neighbour has to prove what it is."""
KNOWN = 2.0
"""Seconds in which a computer that has ended is found by its control line."""
_DESCRIPTORS = 4096  # a ring's sockets are looked for among so many


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
        """Receive a tensor from a neighbour, when fewer than AHEAD others wait to be taken."""

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

    def prove(self, nonce: str) -> None:
        """Compare a nonce that is known to the ranks alone, before any tensor.

        Raises:
            Gemma4Error: what has connected does not know it.
        """
        own = mx.array([*_proof(nonce, self.rank)], mx.uint8)
        mx.eval(own)
        self.send(own, self.right)
        try:
            found = self.take(self.expect(own.shape, mx.uint8, self.left), PROVING)
        except (TimeoutError, Gemma4Error):
            found = None
        if found is None or not hmac.compare_digest(
            np.array(found).tobytes(), _proof(nonce, self.left)
        ):
            error = stranger()
            self.fail(error)
            raise error

    def _result(self, future: Future[Result], timeout: float | None = None) -> Result:
        waiting: list[Future[Any]] = [future, self._lost]
        done, _ = wait(waiting, timeout, FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        if future not in done:
            raise TimeoutError
        try:
            return future.result()
        except RuntimeError as error:  # who has ended is known soon, and says more
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


def connect(rank: int, addresses: Sequence[Address], nonce: str) -> Ring:
    """Connect the ring, and prove the nonce.

    Args:
        rank: of this process.
        addresses: where each rank listens while it connects, IPv4.
        nonce: see `Ring.prove`.

    Raises:
        Gemma4Error: a rank cannot be reached, or a stranger was in its place.
    """
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder, "hosts.json")
        hosts.write_text(json.dumps([[f"{host}:{port}"] for host, port in addresses]))
        os.environ |= {"MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)}
        before = _open_sockets()
        alarm = _alarm(addresses[rank])
        try:
            group = mx.distributed.init(strict=True, backend="ring")
        except RuntimeError as error:
            raise Gemma4Error(
                "ring_unreachable",
                "The computers cannot reach each other",
                f"Rank {rank} of {len(addresses)} at {addresses[rank][0]}: {error}.",
                "Check the cable and the firewall: gemma4 doctor --hosts shows both.",
            ) from error
        finally:
            alarm.kill()
            alarm.wait()
    ring = Ring(group, sorted(_open_sockets() - before))
    ring.prove(nonce)
    return ring


def free_port(address: str) -> int:
    """A port of an address on which nobody listens."""
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


def stranger() -> Gemma4Error:
    """The error of a ring into which something else has connected."""
    return Gemma4Error(
        "ring_stranger",
        "Something else has connected to the ring",
        "It does not know the nonce that was agreed over ssh. No tensor was sent.",
        "Connect the computers by a cable, or in a network that you trust, and try again.",
    )


def _proof(nonce: str, rank: int) -> bytes:
    return hmac.digest(nonce.encode(), str(rank).encode(), hashlib.sha256)


def _alarm(own: Address) -> subprocess.Popen[bytes]:
    """A process that ends an endless wait for a neighbour, by connecting in its place.

    While MLX waits, no thread of this process can run.
    """
    code = (
        "import socket, sys, time; time.sleep(float(sys.argv[3])); "
        "socket.create_connection((sys.argv[1], int(sys.argv[2])))"
    )
    arguments = [sys.executable, "-S", "-c", code, own[0], str(own[1]), str(CONNECTING)]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _open_sockets() -> set[int]:
    found = set()
    for descriptor in range(_DESCRIPTORS):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.add(descriptor)
    return found
