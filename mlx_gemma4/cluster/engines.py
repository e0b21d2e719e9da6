"""Whole engines on several computers: `gemma4 serve` on each, reached through ssh. Knows no MLX."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence

from ..errors import Gemma4Error
from . import ssh
from .hosts import LOCAL, check_names
from .links import free_port

_TUNNEL = 15.0


class EngineProcess:
    """A server on a computer, which ends with this process.

    Args:
        host: the name that ssh has for it, or "local".
        arguments: of `gemma4 serve`, without address and port.
        remote: how gemma4 is started there; None: it is looked for.

    Attributes:
        url: of the server, as seen from here; empty until `listening`.
    """

    def __init__(self, host: str, arguments: Sequence[str], remote: str | None = None) -> None:
        self.host, self.url, self._remote = host, "", remote
        self._printed = tempfile.TemporaryFile()
        self._tunnel: subprocess.Popen[bytes] | None = None
        words = [*arguments, "--host", "127.0.0.1", "--port", "0"]
        self._process = ssh.start(host, ssh.server(host, remote, words), self._printed)

    @property
    def pid(self) -> int:
        """The id of the process here: ssh's, or the shell's."""
        return self._process.pid

    def listening(self) -> None:
        """Wait until it listens.

        Raises:
            Gemma4Error: it does not.
        """
        assert self._process.stdout is not None
        port = 0
        for line in self._process.stdout:
            if found := re.search(rb"Listening at http://127.0.0.1:(\d+)", line):
                port = int(found[1])
                break
        if not port:
            self._printed.seek(0)
            printed = self._printed.read(1 << 16).decode(errors="replace")
            status = self._process.wait()
            self.close()
            raise ssh.failure(self.host, status, printed, self._remote)
        if self.host != LOCAL:
            port = self._forwarded(port)
        self.url = f"http://127.0.0.1:{port}"

    def when_ended(self, call: Callable[[str], object]) -> None:
        """Wait until it has ended, and call with the cause."""
        status = self._process.wait()
        call(f"its server has ended with status {status}")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        for process in (self._process, self._tunnel):
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5 if process is self._process else 0)
                process.kill()
                process.wait()

    def _forwarded(self, remote_port: int) -> int:
        port = free_port()
        self._tunnel = subprocess.Popen(
            ssh.tunnel(self.host, port, remote_port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _TUNNEL
        while time.monotonic() < deadline and self._tunnel.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            time.sleep(0.05)
        raise Gemma4Error(
            "host_unreachable",
            f"{self.host} cannot be used",
            "ssh does not forward a port to its server.",
            "Allow it there: AllowTcpForwarding yes, in /etc/ssh/sshd_config.",
            {"host": self.host},
        )


def start_engines(
    names: Sequence[str], arguments: Sequence[str], remote: str | None = None
) -> list[EngineProcess]:
    """Start an engine on each computer, and wait until all of them listen.

    Args:
        names: as for `EngineProcess`; blanks around them are left out.
        arguments: see `EngineProcess`; so is `remote`, for all that are not local.

    Raises:
        Gemma4Error: one cannot be started; then none runs.
    """
    names = [name.strip() for name in names]
    check_names(names)
    processes: list[EngineProcess] = []
    try:
        for name in names:
            processes.append(EngineProcess(name, arguments, None if name == LOCAL else remote))
        for process in processes:
            process.listening()
    except BaseException:
        for process in processes:
            process.close()
        raise
    return processes
