"""The options of a model that is spread over several computers, and `gemma4 worker`."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..cluster import ring_output
from ..cluster.hosts import LOST, Hosts, Sending, read_cut
from .options import Option, Subcommand, not_understood
from .streams import ProgressLine

HOSTS = Option(
    "--hosts",
    "other Macs that hold a part of the layers, as ssh knows them (docs/several-macs.md); local: a "
    "worker here, to try it out",
    "HOST[,HOST]",
)
REMOTE = Option("--remote-command", "with --hosts: how gemma4 is started there", "COMMAND")
OPTIONS = (
    HOSTS,
    Option("--cut", "with --hosts: the layers before which the model is cut", "N[,N]"),
    Option("--keep-layers", "with --hosts: they keep the layers that they are sent"),
    Option(
        "--remote-folder",
        "with --hosts: the model's folder there; layers that are equal are read from it, not sent",
        "FOLDER",
    ),
    REMOTE,
)
_PROGRAM = "program_"


def add_to_program(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the terminal program, under other names than a command's own."""
    for option in OPTIONS:
        option.add_to(parser, _PROGRAM)


def of_program(options: argparse.Namespace) -> Hosts | None:
    """The hosts that are asked for before any command; errors as in `chosen`."""
    found = {name: value for name, value in vars(options).items() if name.startswith(_PROGRAM)}
    own = {name.removeprefix(_PROGRAM): value for name, value in found.items()}
    return chosen(argparse.Namespace(**own))


def chosen(options: argparse.Namespace) -> "Hosts | None":
    """Return the hosts that are asked for, or raise Gemma4Error; None without --hosts."""
    if options.hosts is None:
        if any((options.cut, options.keep_layers, options.remote_folder, options.remote_command)):
            raise not_understood(
                "--cut, --keep-layers, --remote-folder and --remote-command are for --hosts.",
                "Add --hosts HOST.",
            )
        return None
    return Hosts.read(
        options.hosts,
        cut=read_cut(options.cut),
        keep=options.keep_layers,
        folder=options.remote_folder,
        command=options.remote_command,
    )


def sending() -> Callable[[str, int, int], None]:
    """Show how much of the layers is sent; MLX's own lines about lost connections are not shown."""
    ring_output.hide()
    line = ProgressLine()

    def show(host: str, done: int, total: int) -> None:
        if done < total:
            line.show(Sending(host, done, total).words)
        else:
            line.clear()

    return show


def leave(error: BaseException, status: int, arguments: Sequence[str]) -> None:
    """End the process at once where MLX may wait for a computer: after a loss or Ctrl-C."""
    spread = any(one.split("=")[0] == HOSTS.flag for one in arguments)
    if getattr(error, "code", "") == LOST or (spread and isinstance(error, KeyboardInterrupt)):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _worker(options: argparse.Namespace) -> None:
    from ..cluster.worker import serve

    if sys.stdin.isatty():
        raise not_understood(
            "Nobody leads this worker: another computer's gemma4 starts it, over ssh.",
            "There: gemma4 --hosts and the name of this one.",
        )
    serve(Path(options.folder) if options.folder else None, options.keep_layers)


WORKER = Subcommand(
    "worker",
    "hold layers for another computer",
    "Hold a part of a model's layers for another computer, which starts this over ssh. Nobody "
    "needs to type it.",
    (
        Option("--folder", "a model folder: layers that are the leader's are read there", "FOLDER"),
        Option("--keep-layers", "keep the layers that are sent"),
    ),
    _worker,
)
