"""How a worker is started on another computer, and what ssh's own failures mean."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from ..errors import Gemma4Error
from .hosts import LOCAL

PLACES = ("gemma4", "$HOME/.local/bin/gemma4", "/opt/homebrew/bin/gemma4")
"""Where `gemma4` is looked for: ssh's shell often has a short PATH."""
SSH = "GEMMA4_SSH"
"""An environment variable: another ssh command with its options, as GIT_SSH_COMMAND for git."""
ENGINE = "GEMMA4_ENGINE"
"""An environment variable that is set for an engine of `serve --also`."""
_NOT_FOUND, _OF_SSH = 127, 255  # status of a shell, and of ssh's own failures
# IPv4, as MLX's ring; no questions, for nobody could answer; a dead link ends it
_OPTIONS = ("-T", "-4", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3")  # fmt: skip


def command(host: str, remote: str | None, arguments: Sequence[str] = ()) -> list[str]:
    """The command that starts a worker on a host.

    Args:
        remote: how gemma4 is started there; None: it is looked for in PLACES.
        arguments: of `gemma4 worker`.
    """
    if host == LOCAL and remote is None:
        # -P: modules in the working directory must not hide the library's
        return [sys.executable, "-P", "-m", f"{__package__}.worker", *arguments]
    return _run(host, f'{_named(remote)}; exec "$@" {shlex.join(["worker", *arguments])}')


def server(host: str, remote: str | None, arguments: Sequence[str]) -> list[str]:
    """The command that starts `gemma4 serve` on a host; it ends when its stdin is closed.

    Args:
        remote: see `command`.
        arguments: of `gemma4 serve`.
    """
    words = shlex.join(["serve", *arguments])
    if remote is None and host == LOCAL:
        remote = shlex.join([sys.executable, "-P", "-m", "mlx_gemma4"])
    script = (
        f'{_named(remote)}; exec 3<&0; {ENGINE}=1 "$@" {words} </dev/null & served=$!; '
        "(cat <&3 >/dev/null 2>&1; kill $served 2>/dev/null) >/dev/null 2>&1 & wait $served"
    )
    return _run(host, script)


def tunnel(host: str, port: int, remote_port: int) -> list[str]:
    """The command that forwards a port of this computer to one of the host's own."""
    way = f"127.0.0.1:{port}:127.0.0.1:{remote_port}"
    return [*_ssh(), "-o", "ExitOnForwardFailure=yes", "-N", "-L", way, host]


def start(host: str, command: Sequence[str], printed: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the command of a worker or a server, between pipes that are not buffered.

    Args:
        host: where that will be.
        command: of `command` or `server`.
        printed: takes what is printed on stderr.

    Raises:
        Gemma4Error: there is no such program here.
    """
    # a worker here must not take our own ssh for its leader
    dropped = "SSH_CONNECTION" if host == LOCAL else ""
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            env={name: value for name, value in os.environ.items() if name != dropped},
            start_new_session=True,  # Ctrl-C is for this process, which then ends it
        )
    except OSError as error:
        cause = f"{command[0]} cannot be started here: {error.strerror or error}."
        remedy = f"Install OpenSSH, or name another: {SSH}=/path/to/ssh."
        raise _error(host, "ssh_missing", cause, remedy) from error


def failure(host: str, status: int | None, printed: str, remote: str | None = None) -> Gemma4Error:
    """Why a worker did not start.

    Args:
        status: of ssh, or of the worker where that is local; None where it has not ended.
        printed: what went to its stderr.
        remote: see `command`.
    """
    if host != LOCAL and status in (None, _OF_SSH):
        for pattern, code, cause, remedy in _MEANINGS:
            if re.search(pattern, printed):
                return _error(host, code, cause, remedy.format(host=host))
    if status == _NOT_FOUND:
        looked = f"There is no gemma4 in its PATH, nor at {PLACES[1]} or {PLACES[2]}."
        return _error(
            host,
            "host_without_gemma4",
            looked if remote is None else f"There is no {remote} there.",
            "Install it there, or name it: --remote-command /path/to/gemma4.",
        )
    own = re.findall(r"^(?:Error: |  Cause: )(.+?)\.?$", printed, re.MULTILINE)
    lines = [line.strip().rstrip(".") for line in printed.splitlines() if line.strip()]
    if own:  # a command of ours, which has printed why
        cause = ". ".join(own)
    else:
        how = "is no worker" if status is None else f"has ended with status {status}"
        cause = lines[-1] if lines else f"What was started there {how}"
    remedy = "Run `gemma4 doctor`." if host == LOCAL else f"Try `ssh {host}`, and gemma4 there."
    if re.search(r"\b(Import|ModuleNotFound|Syntax)Error: ", cause):
        remedy = "Install mlx-gemma4 there again, with Python 3.11 or later."
    return _error(host, "host_unreachable", f"{cause}.", remedy)


def silent(host: str, seconds: float) -> Gemma4Error:
    """The error of a host whose worker was started, and did not report in time."""
    remedy = "Check that it is awake, and what its login shell does."
    return _error(host, "host_unreachable", f"It did not answer in {seconds:g} s.", remedy)


def _run(host: str, script: str) -> list[str]:
    """The command that has a shell of the host run a script."""
    if host == LOCAL:
        return ["sh", "-c", script]
    return [*_ssh(), host, f"exec sh -c {shlex.quote(script)}"]


def _named(remote: str | None) -> str:
    """Set a shell's arguments to the command of gemma4: as it is named, or looked for in PLACES."""
    if not remote:
        tries = " ".join(f'"{place}"' for place in PLACES)
        return (
            f'for found in {tries} ""; do command -v "$found" >/dev/null 2>&1 && break; done; '
            f'[ -n "$found" ] || exit {_NOT_FOUND}; set -- "$found"'
        )
    whole = shlex.quote(remote)  # a path with blanks that is a program is one word
    return f"if [ -x {whole} ]; then set -- {whole}; else set -- {remote}; fi"


def _ssh() -> list[str]:
    words = os.environ.get(SSH) or "ssh"
    try:
        return [*shlex.split(words), *_OPTIONS]
    except ValueError as error:
        raise Gemma4Error(
            "usage",
            f"{SSH} is not understood",
            f"It is {words!r}: {error}.",
            f"Write it as a shell takes it: {SSH}='ssh -F FILE'.",
        ) from error


def _error(host: str, code: str, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error(code, f"{host} cannot be used", cause, remedy, {"host": host})


_MEANINGS = (
    (
        "Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host_key_unknown",
        "Its host key is not known to ssh, or was another one before.",
        "Run `ssh {host}` once, and compare and accept its key.",
    ),
    (
        "Permission denied|Too many authentication failures",
        "host_asks_password",
        "It accepts no key that ssh has, and would ask for a password.",
        "Set up a key: ssh-copy-id {host}.",
    ),
    (
        "Address family",
        "host_unreachable",
        "Its address is an IPv6 one, and the computers reach each other over IPv4.",
        "Name its IPv4 address, or set that as HostName in ~/.ssh/config.",
    ),
    (
        "Could not resolve hostname|[Nn]ame or service not known",
        "host_unreachable",
        "Nothing in the network is called so.",
        "Check the name: on the other Mac, System Settings, General, Sharing shows it.",
    ),
    (
        "Connection refused",
        "host_unreachable",
        "It does not accept ssh.",
        "On the other Mac turn on System Settings, General, Sharing, Remote Login.",
    ),
    (
        "timed out|No route to host|Network is unreachable",
        "host_unreachable",
        "It does not answer.",
        "Check that it is awake, and the cable or the network.",
    ),
)
