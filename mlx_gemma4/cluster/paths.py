"""Whether one computer can connect to another, tried before MLX's ring, which has no time-outs."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import threading

PATIENCE = 8.0
"""Seconds in which a connection must be made."""
_SIOCGIFADDR = 0xC0206921 if sys.platform == "darwin" else 0x8915


def listen_once(address: str) -> int:
    """Accept one connection at an address, in a thread, and nothing after that; the port."""
    server = socket.create_server((address, 0))
    server.settimeout(PATIENCE)

    def accept() -> None:
        with server, contextlib.suppress(OSError):
            server.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def reach(address: str, port: int) -> str:
    """Connect to a port and leave; why that failed, or nothing."""
    try:
        socket.create_connection((address, port), PATIENCE).close()
    except OSError as error:
        return str(error.strerror or error)
    return ""


def interface(address: str) -> str:
    """The network interface that has an IPv4 address; empty where none is found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""
