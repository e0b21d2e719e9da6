"""The whole way over ssh: Debian's sshd on loopback, a key made for the test, and the commands."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
GEMMA4 = Path(sys.executable).with_name("gemma4")
WAIT = 30

pytestmark = pytest.mark.skipif(
    not Path(SSHD).exists() or os.geteuid() != 0,
    reason="needs sshd, as root: apt install openssh-server",
)


@dataclass(frozen=True)
class Server:
    """A running sshd: the folder of its keys, and its port."""

    folder: Path
    port: int

    def command(self, identity: str = "key", known: str = "known") -> str:
        """How `gemma4` calls ssh to reach it."""
        config = self.folder / f"config-{identity}-{known}"
        config.write_text(
            "Host worker\n"
            f"  HostName 127.0.0.1\n  Port {self.port}\n  User root\n"
            f"  IdentityFile {self.folder / identity}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / known}\n  GlobalKnownHostsFile /dev/null\n"
        )
        return f"ssh -F {config}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "key", "other"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {' '.join(key)}\n")
    (folder / "nothing").write_text("")
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'key.pub'}\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd confines its unprivileged part
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    try:
        deadline = time.monotonic() + WAIT
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < deadline, (
                folder / "log"
            ).read_text()
            time.sleep(0.05)
        yield Server(folder, port)
    finally:
        process.kill()
        process.wait()


def gemma4(*arguments: str, ssh: str, remote: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(GEMMA4), *arguments, "--hosts", "worker"]
    if remote:
        command += ["--remote-command", str(GEMMA4)]
    variables = {**os.environ, "GEMMA4_SSH": ssh, "MLX_DISABLE_COMPILE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=variables)


def test_a_question_is_answered_over_ssh(server: Server) -> None:
    picture = str(Path(__file__).parents[2] / "assets/demo/receipt.png")
    question = ("ask", "what is the total?", "--image", picture, "--temperature", "0")
    done = gemma4(*question, "--model", "tiny", ssh=server.command())
    alone = subprocess.run(
        [str(GEMMA4), *question, "--model", "tiny"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone.stdout
    assert "19.56" in done.stdout
    assert "Sending layers to worker" in done.stderr


def test_doctor_shows_the_host_its_link_and_what_to_expect(server: Server) -> None:
    done = gemma4("doctor", ssh=server.command())
    assert done.returncode == 0, done.stderr
    assert "at 127.0.0.1 (lo), from 127.0.0.1 (lo)" in done.stdout
    assert "GB for a model" in done.stdout
    assert "have proved the nonce" in done.stdout
    assert "ms there and back" in done.stdout and "MB/s" in done.stdout
    assert "problem " not in done.stdout


def test_fit_shows_where_a_model_is_cut_before_anything_is_sent(server: Server) -> None:
    done = gemma4("fit", "tiny", ssh=server.command())
    assert done.returncode == 0, done.stderr
    assert "worker: " in done.stdout
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("bf16 ")]
    (bf16,) = lines
    assert bf16[2] == "+" and int(bf16[1]) + int(bf16[3]) == 6


@pytest.mark.parametrize(
    ("identity", "known", "remote", "cause"),
    [
        ("key", "nothing", True, "Its host key is not known to ssh, or was another one before."),
        ("other", "known", True, "It accepts no key that ssh has, and would ask for a password."),
        ("key", "known", False, "There is no gemma4 in its PATH"),
    ],
)
def test_what_ssh_would_ask_is_one_clear_line(
    identity: str, known: str, remote: bool, cause: str, server: Server
) -> None:
    ssh = server.command(identity, known)
    done = gemma4("ask", "hello", "--model", "tiny", ssh=ssh, remote=remote)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "Error: worker cannot be used"
    assert lines[1].startswith(f"  Cause: {cause}")
    assert lines[2].startswith("  Remedy: ")
    assert len(lines) == 3
