"""The connections between neighbours, made and proved before MLX's ring gets them.

A rank listens on the link's own address, at a port that it holds before it names it, and only while
the ring connects. Whoever connects proves that it knows the nonce that was agreed over ssh, and is
shown that this rank knows it. A stranger is cut off, and the neighbour is still waited for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait

from ..errors import Gemma4Error

Place = tuple[str, str, int]
"""A rank's name, IPv4 address and port."""

REACHING = 8.0
"""Seconds in which the right neighbour must be connected to."""
WAITING = 20.0
"""Seconds in which the left neighbour must come, and the right one prove what it is."""
_LOOK = 0.25  # seconds between two checks whether to go on waiting
_MOST = 64  # connections that are read at a time: the others wait in the system's queue
_PROOF = hashlib.sha256().digest_size
_SIOCGIFADDR = 0xC0206921 if sys.platform == "darwin" else 0x8915


class Listener:
    """Where a rank waits for its left neighbour; a context manager that ends the listening.

    Args:
        address: of the link.

    Raises:
        Gemma4Error: it is no address of this computer.
    """

    def __init__(self, address: str) -> None:
        try:
            self._server = socket.create_server((address, 0), backlog=_MOST)
        except OSError as error:
            raise unreachable(
                f"Listening at {address}, where the neighbour sees this computer, failed: "
                f"{error.strerror or error}.",
                "Name the computers by their addresses on one link, with no router between them.",
            ) from error
        self._server.setblocking(False)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def wait_for(
        self, proof: bytes, answer: bytes, name: str, check: Callable[[], object]
    ) -> socket.socket:
        """Wait for whoever sends the proof, and send the answer.

        Args:
            proof: what only the left neighbour knows.
            answer: what only this rank knows besides.
            name: the left neighbour's.
            check: called every now and then; may raise.

        Raises:
            Gemma4Error: nobody came, or only strangers.
        """
        heard: dict[socket.socket, bytes] = {}
        deadline, strangers = time.monotonic() + WAITING, 0
        try:
            while time.monotonic() < deadline:
                check()
                listening = [self._server] if len(heard) < _MOST else []
                for one in wait([*listening, *heard], _LOOK):
                    assert isinstance(one, socket.socket)
                    if one is self._server:
                        with contextlib.suppress(OSError):  # it has gone already
                            heard[self._accepted()] = b""
                        continue
                    piece = _received(one, _PROOF - len(heard[one]))
                    heard[one] += piece
                    if hmac.compare_digest(heard[one], proof):
                        del heard[one]
                        one.settimeout(WAITING)
                        one.sendall(answer)
                        return one
                    if not piece or len(heard[one]) == _PROOF:
                        del heard[one]
                        one.close()
                        strangers += 1
        finally:
            for one in heard:
                one.close()
        if strangers or heard:
            raise stranger()
        raise unreachable(f"{name} did not connect in {WAITING:g} s.")

    def _accepted(self) -> socket.socket:
        one, _ = self._server.accept()
        one.setblocking(False)
        return one


def join(
    listener: Listener,
    rank: int,
    places: Sequence[Place],
    nonce: str,
    check: Callable[[], object] = lambda: None,
) -> tuple[socket.socket, socket.socket]:
    """Connect to both neighbours, all ranks at the same time.

    Args:
        listener: of this rank.
        rank: of this process.
        places: of each rank.
        nonce: known to the ranks alone.
        check: called every now and then while the left one is waited for; may raise.

    Returns:
        The connections to the left and to the right neighbour.

    Raises:
        Gemma4Error: one cannot be reached, or a stranger is in its place.
    """
    left, right = (rank - 1) % len(places), (rank + 1) % len(places)
    name, address, port = places[right]
    try:
        going = socket.create_connection((address, port), REACHING)
    except OSError as error:
        raise unreachable(
            f"Connecting to {name} at {address} failed: {error.strerror or error}."
        ) from error
    coming = None
    try:
        with contextlib.suppress(OSError):  # who has closed it does not answer either
            going.sendall(_proof(nonce, "connects", rank, right))
        coming = listener.wait_for(
            _proof(nonce, "connects", left, rank),
            _proof(nonce, "accepts", rank, left),
            places[left][0],
            check,
        )
        going.settimeout(WAITING)
        answer = b""
        while piece := _received(going, _PROOF - len(answer)):
            answer += piece
        if not hmac.compare_digest(answer, _proof(nonce, "accepts", right, rank)):
            raise stranger()
    except BaseException:
        for one in (going, coming):
            if one is not None:
                one.close()
        raise
    for one in (coming, going):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return coming, going


def stranger() -> Gemma4Error:
    return Gemma4Error(
        "ring_stranger",
        "Something else has connected to the ring",
        "It does not know the nonce that was agreed over ssh. No tensor was sent.",
        "Connect the computers by a cable, or in a network that you trust, and try again.",
    )


def unreachable(cause: str, remedy: str = "") -> Gemma4Error:
    return Gemma4Error(
        "ring_unreachable",
        "The computers cannot reach each other",
        cause,
        remedy
        or "Allow it in the firewall; on macOS 15 and later also in System Settings, "
        "Privacy & Security, Local Network.",
    )


def free_port() -> int:
    """A port of this computer on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def interface(address: str) -> str:
    """The network interface that has an IPv4 address; empty where none is found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""


def _received(one: socket.socket, most: int) -> bytes:
    """What has come, at most so many bytes; nothing where the other side is gone or silent."""
    try:
        return one.recv(most) if most else b""
    except OSError:
        return b""


def _proof(nonce: str, what: str, own: int, other: int) -> bytes:
    return hmac.digest(nonce.encode(), f"{what} {own} {other}".encode(), hashlib.sha256)
