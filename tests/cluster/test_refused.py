"""What is refused before any tensor is sent: strangers, other versions, ssh that asks something."""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import mlx_gemma4
from mlx_gemma4 import cli
from mlx_gemma4.cluster import cut, links, ssh
from mlx_gemma4.cluster.control import BANNER, ControlLine
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.testing.doubles import tiny_config
from tests.cluster.processes import lead

MODULE = "tests.cluster.test_refused"
FAKE = Path(__file__).with_name("fake_worker.py")


def refused(folder: str, *arguments: str) -> dict[str, Any]:
    """In a leader: the error of a worker that is none."""
    command = shlex.join([sys.executable, str(FAKE), *arguments])
    links.WAITING = 2.0  # for what does not come
    try:
        mlx_gemma4.load(folder, hosts=Hosts(("local",), command=command, patience=120))
    except Gemma4Error as error:
        return {"code": error.code, "title": error.title, "cause": error.cause}
    return {}


@pytest.mark.parametrize("sends", ["nothing", "a wrong proof"])
def test_a_stranger_in_the_ring_is_refused_before_any_tensor(
    sends: str, folders: dict[str, str], tmp_path: Path
) -> None:
    received = tmp_path / "received"
    folder = folders["tiny fp32"]
    result = lead(MODULE, "refused", folder, "stranger", sends, str(received))
    assert result["code"] == "ring_stranger"
    assert "No tensor was sent" in result["cause"]
    # the leader's own proof is all that came
    assert len(received.read_bytes()) <= 32


@pytest.mark.parametrize("what", ["protocol", "version", "mlx"])
def test_another_version_is_refused_by_name(what: str, folders: dict[str, str]) -> None:
    result = lead(MODULE, "refused", folders["tiny fp32"], "version", what)
    names = {"protocol": "the protocol", "version": "mlx-gemma4", "mlx": "MLX"}
    assert result["code"] == "host_version"
    assert f"There it is {names[what]} 0.0.1, here {names[what]} " in result["cause"]


def test_a_worker_that_ends_at_once_is_an_error_with_what_it_printed(
    folders: dict[str, str],
) -> None:
    result = lead(MODULE, "refused", folders["tiny fp32"], "end")
    assert (result["code"], result["cause"]) == ("host_unreachable", "The dog has eaten it.")


def test_a_worker_that_reports_something_else_is_an_error(folders: dict[str, str]) -> None:
    result = lead(MODULE, "refused", folders["tiny fp32"], "less")
    assert (result["code"], result["title"]) == ("host_lost", "local is lost")
    assert "What it sends is not understood" in result["cause"]


def test_what_a_login_shell_prints_is_passed_over() -> None:
    reader = io.BytesIO(b"Welcome!\nYou have mail.\n" + BANNER + frame(["hello", {}]))
    line = ControlLine(reader, io.BytesIO())
    assert line.find()
    assert line.receive() == ["hello", {}]
    assert line.receive() is None
    assert not ControlLine(io.BytesIO(b"Welcome!\n" * 9000), io.BytesIO()).find()


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x02[]", b"\0\0\0\x09[1", b"\0\0"]
)
def test_what_is_no_message_ends_the_line(data: bytes) -> None:
    assert ControlLine(io.BytesIO(data), io.BytesIO()).receive() is None


def frame(message: list[Any]) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize(
    ("status", "printed", "code", "cause"),
    [
        (255, "mac2: Permission denied (publickey,password).", "host_asks_password", "password"),
        (255, "Host key verification failed.", "host_key_unknown", "host key"),
        (255, "ssh: Could not resolve hostname mac2: Name or service not known",
         "host_unreachable", "Nothing in the network"),
        (255, "ssh: Could not resolve hostname ::1: Address family for hostname not supported",
         "host_unreachable", "IPv4"),
        (255, "ssh: connect to host mac2 port 22: Connection refused", "host_unreachable",
         "does not accept ssh"),
        (255, "ssh: connect to host mac2 port 22: Operation timed out", "host_unreachable",
         "does not answer"),
        (127, "", "host_without_gemma4", "no gemma4 in its PATH"),
        (1, "Something else.\nLast line", "host_unreachable", "Last line."),
        # what a worker prints is not ssh's: it has ended with a status of its own
        (1, "open: Permission denied", "host_unreachable", "open: Permission denied."),
        (2, "Error: It is full\n  Cause: No room.\n  Remedy: Make some.", "host_unreachable",
         "It is full. No room."),
        (None, "", "host_unreachable", "is no worker"),
    ],
)  # fmt: skip
def test_each_failure_of_ssh_is_one_clear_line(
    status: int, printed: str, code: str, cause: str
) -> None:
    error = ssh.failure("mac2", status, printed)
    assert (error.code, error.facts) == (code, {"host": "mac2"})
    assert cause in error.cause
    assert "\n" not in str(error)
    assert "mac2" in str(error)


@pytest.mark.parametrize(
    "broken", ["ModuleNotFoundError: No module named 'numpy'", "SyntaxError: x"]
)
def test_a_broken_installation_there_is_to_be_installed_again(broken: str) -> None:
    error = ssh.failure("mac2", 1, f"Traceback (most recent call last):\n{broken}\n")
    assert error.cause == f"{broken}."
    assert error.remedy == "Install mlx-gemma4 there again, with Python 3.11 or later."


@pytest.mark.parametrize("words", ["{}", "env A=1 '{}'"])
def test_a_program_whose_path_has_blanks_is_started(words: str, tmp_path: Path) -> None:
    program = tmp_path / "a b" / "gemma4"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor one in "$@"; do echo "<$one>"; done\n')
    program.chmod(0o700)
    command = ssh.command("local", words.format(program), ["--folder", "x y"])
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == ["<worker>", "<--folder>", "<x y>"]


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        ("", "empty"),
        ("a,,b", "empty"),
        ("a,b,c", "They are 3"),
        ("a,a", "a is named twice"),
        ("me@Mac2.local,mac2.local.", "mac2.local is named twice"),
        ("ssh://me@mac2:2222,ssh://mac2:2222", "mac2:2222 is named twice"),
        ("a b", "no name of a computer"),
        ("-oProxyCommand=x", "no name of a computer"),
        ("user@-oProxyCommand=x", "no name of a computer"),
        ("-x@host", "no name of a computer"),
        ("ssh://-oProxyCommand=x", "no name of a computer"),
        ("a;touch${IFS}x", "no name of a computer"),
        ("a\nb", "no name of a computer"),
        ("::1", "IPv6"),
        ("fe80::1%en0", "IPv6"),
        ("[fe80::1]", "IPv6"),
        ("mac2:22", "has a port"),
    ],
)
def test_hosts_that_cannot_be_are_refused_with_the_reason(names: str, cause: str) -> None:
    with pytest.raises(Gemma4Error, match=cause) as caught:
        Hosts.read(names)
    assert caught.value.title == "The hosts are not understood"


@pytest.mark.parametrize(
    "names",
    ["mac2.local", "me@mac2", "a_b-c.d,192.0.2.1", "ssh://me@mac2:2222", "local,local", "büro"],
)
def test_names_that_ssh_takes_are_taken(names: str) -> None:
    assert Hosts.read(names).names == tuple(names.split(","))


def test_another_ssh_is_one_that_a_shell_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ssh.SSH, "")
    assert ssh.command("mac2", None)[0] == "ssh"
    monkeypatch.setenv(ssh.SSH, "/nowhere/ssh -v")
    with (
        Path(os.devnull).open("wb") as nothing,
        pytest.raises(Gemma4Error, match="/nowhere/ssh cannot be started here: No such") as caught,
    ):
        ssh.start("mac2", ssh.command("mac2", None), nothing)
    assert caught.value.code == "ssh_missing"
    monkeypatch.setenv(ssh.SSH, 'ssh "')
    with pytest.raises(Gemma4Error, match="GEMMA4_SSH is not understood"):
        ssh.command("mac2", None)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["fit", "tiny", "--hosts", "16GB,mac2"], "Some are names, some are sizes."),
        (["fit", "tiny", "--hosts", "16GB,16GB,16GB"], "They are 3."),
        (["ask", "hello", "--hosts", "local", "--cut", "x"], "'x' has what is no number."),
        (["ask", "hello", "--keep-layers"], "are for --hosts."),
        (["bench", "--draft", "--hosts", "local"], "what pays on one computer."),
        (["serve", "--also", "local", "--hosts", "local"], "--also has a whole one on each"),
        (["serve", "--also", "local", "--cut", "3"], "--also has a whole one on each"),
        (["serve", "--also", "local,-oProxyCommand=x"], "is no name of a computer."),
        (["serve", "--also", "mac2, me@mac2"], "mac2 is named twice."),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert cause in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("stops", [(0,), (6,), (7,), (), (2, 4), (-1,)])
def test_a_cut_that_leaves_somebody_nothing_is_refused(stops: tuple[int, ...]) -> None:
    with pytest.raises(Gemma4Error, match="cannot be cut there"):
        cut.at(stops, tiny_config(), 2)


def nonsense(sends: bytes, port: int) -> socket.socket:
    """A stranger that has connected to a port."""
    stranger = socket.create_connection(("127.0.0.1", port))
    stranger.sendall(sends)
    return stranger


def join_both(listeners: list[links.Listener]) -> list[tuple[socket.socket, socket.socket]]:
    """Two ranks join at once: the connections of each."""
    places = [(f"rank {n}", "127.0.0.1", one.port) for n, one in enumerate(listeners)]

    def join(rank: int) -> tuple[socket.socket, socket.socket]:
        return links.join(listeners[rank], rank, places, "nonce")

    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(join, range(2))]


def test_neighbours_find_each_other_among_strangers_that_came_first() -> None:
    with links.Listener("127.0.0.1") as one, links.Listener("127.0.0.1") as other:
        ports = (one.port, other.port)
        strangers = [nonsense(s, port) for s in (b"", b"x", b"y" * 40) for port in ports]
        strangers[0].close()
        (left0, right0), (left1, right1) = join_both([one, other])
    for sender, receiver in ((right0, left1), (right1, left0)):
        sender.sendall(b"a tensor")
        assert receiver.recv(100) == b"a tensor"
    for stranger in strangers[1:]:
        stranger.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""


@pytest.mark.parametrize("nonce", ["another", "nonce"])
def test_who_does_not_know_the_nonce_is_a_stranger_on_either_side(
    nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A left neighbour that knows another one, or a right one that has no answer."""
    monkeypatch.setattr(links, "WAITING", 0.5)
    with links.Listener("127.0.0.1") as one, socket.create_server(("127.0.0.1", 0)) as other:
        proof = hmac.digest(nonce.encode(), b"connects 1 0", "sha256")
        left = nonsense(proof, one.port)
        places = [("a", "127.0.0.1", one.port), ("b", "127.0.0.1", other.getsockname()[1])]
        with pytest.raises(Gemma4Error) as caught:
            links.join(one, 0, places, "nonce")
        assert caught.value.code == "ring_stranger"
        left.settimeout(20)
        assert len(left.recv(100)) == (32 if nonce == "nonce" else 0)


def test_a_neighbour_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "WAITING", 0.5)
    with links.Listener("127.0.0.1") as one:
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()[1]
        places = [("a", "127.0.0.1", one.port), ("mac2", "127.0.0.1", closed)]
        with pytest.raises(
            Gemma4Error, match="Connecting to mac2 at 127.0.0.1 .*refused"
        ) as caught:
            links.join(one, 0, places, "nonce")
        assert caught.value.code == "ring_unreachable"
        places[1] = ("mac2", "127.0.0.1", one.port)  # which nobody comes from
        with pytest.raises(Gemma4Error, match="Something else"):
            links.join(one, 0, places, "nonce")
        with pytest.raises(Gemma4Error, match="mac2 did not connect"):
            one.wait_for(b"", b"", "mac2", lambda: None)
    with pytest.raises(Gemma4Error, match="Listening at 192.0.2.1, .* failed"):
        links.Listener("192.0.2.1")


def test_an_interface_is_found_by_its_address() -> None:
    assert links.interface("127.0.0.1") in ("lo", "lo0")
    assert links.interface("192.0.2.1") == ""
