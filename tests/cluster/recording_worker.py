"""A worker behind a recorder: what passes its control line and its ring is written into files.

python recording_worker.py FOLDER worker [ARGUMENTS]: as `--remote-command` starts it.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

folder = Path(sys.argv[1])
ended = threading.Event()


def proxy(target: tuple[str, int], name: str) -> int:
    """Listen for one connection, pass it on to the target, and record both directions."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        incoming, _ = server.accept()
        outgoing = socket.create_connection(target)
        for one, other, way in ((incoming, outgoing, "there"), (outgoing, incoming, "back")):
            threading.Thread(target=copy, args=(one, other, f"{name}-{way}"), daemon=True).start()

    def copy(one: socket.socket, other: socket.socket, file: str) -> None:
        with (folder / file).open("ab", buffering=0) as record:
            while data := one.recv(1 << 16):
                record.write(data)
                other.sendall(data)
        other.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def frames(stream: BinaryIO, file: str, other: BinaryIO) -> None:
    """Pass frames on; those that name ports get the proxy's."""
    with (folder / file).open("ab", buffering=0) as record:
        while len(head := stream.read(4)) == 4:
            data = stream.read(struct.unpack(">I", head)[0])
            record.write(head + data)
            message = json.loads(data)
            if message[0] == "listening":
                message[1] = proxy(("127.0.0.1", message[1]), "ring-to-worker")
            elif message[0] == "ring":
                leader = message[2][0]
                leader[2] = proxy(("127.0.0.1", leader[2]), "ring-to-leader")
            data = json.dumps(message).encode()
            other.write(struct.pack(">I", len(data)) + data)
            other.flush()
    other.close()
    ended.set()


process = subprocess.Popen(
    [sys.executable, "-P", "-m", "mlx_gemma4.cluster.worker", *sys.argv[3:]],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
)
assert process.stdin is not None and process.stdout is not None
banner = b""
while not banner.endswith(b"worker\n"):
    banner += process.stdout.read(1)
sys.stdout.buffer.write(banner)
sys.stdout.buffer.flush()
for arguments in (
    (sys.stdin.buffer, "control-there", process.stdin),
    (process.stdout, "control-back", sys.stdout.buffer),
):
    threading.Thread(target=frames, args=arguments, daemon=True).start()
ended.wait()
