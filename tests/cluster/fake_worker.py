"""What is no worker, but is started as one: `fake_worker.py KIND [VALUE...] worker`."""

import socket
import sys
from pathlib import Path

from mlx_gemma4.cluster import facts
from mlx_gemma4.cluster.control import ControlLine

kind = sys.argv[1]
line = ControlLine(sys.stdin.buffer, open(1, "wb", buffering=0))  # noqa: SIM115, PTH123
if kind == "end":
    sys.stderr.write("Something else.\nThe dog has eaten it.\n")
    sys.exit(3)
hello = facts.gather().json()
line.announce()
if kind == "version":
    hello[sys.argv[2]] = "0.0.1"
if kind == "less":
    del hello["speed"]
line.send("hello", hello)
server = socket.create_server(("127.0.0.1", 0))
while (message := line.receive()) is not None:
    if message[0] == "listen":
        line.send("listening", server.getsockname()[1])
    elif message[0] == "ring":
        # takes the place of the right neighbour, and connects to the leader without the nonce
        left = socket.create_connection(("127.0.0.1", message[2][0][2]))
        right, _ = server.accept()
        if sys.argv[2] == "a wrong proof":
            left.sendall(bytes(32))
        right.settimeout(1)
        received = b""
        Path(sys.argv[3]).write_bytes(received)  # also where it is ended before anything comes
        while True:
            line.send("alive")
            try:
                piece = right.recv(4096)
            except TimeoutError:
                continue
            if not piece:
                break
            received += piece
            Path(sys.argv[3]).write_bytes(received)
