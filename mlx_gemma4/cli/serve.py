"""`gemma4 serve`: other programs use the model over HTTP."""

import argparse
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Gemma4Error, counted
from ..hub import catalog, disk, installed_adapters
from . import hosting
from . import options as shared
from .options import Option, Subcommand, flag, not_understood, out_of_range
from .streams import inform, put

if TYPE_CHECKING:
    from ..serve.guard import Doors

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OF_ENGINES = (
    "model", "adapter", "slots", "context", "image_tokens", "hearing", "drafter", "draft", "park",
    "fetch", "force",
)  # fmt: skip
OPTIONS = (
    shared.MODEL,
    shared.ADAPTER,
    Option("--host", "the address to listen at (127.0.0.1); others need a key", "ADDRESS"),
    Option("--port", "the port (8080); 0 for any that is free", "N", int, default=8080),
    Option("--slots", "conversations whose rows are held in memory (2)", "N", int, default=2),
    Option("--context", "the most tokens of a conversation (what fits for all slots)", "N", int),
    Option("--api-key", "the key that every program must bring", "KEY"),
    Option("--allow-host", "a further name of this computer", "NAME", many=True),
    Option("--allow-origin", "a web page that may use the server", "URL", many=True),
    Option("--fetch", "fetch pictures from public addresses"),
    Option("--certificate", "a PEM file, for https", "FILE"),
    Option("--key", "the certificate's key, where it has a file of its own", "FILE"),
    Option("--make-certificate", "make one for this computer in FILE (gemma4.pem), and end"),
    Option(
        "--hearing",
        "how sound is heard: in the conversation, by a relay, or as the model wants (auto); off "
        "reads nothing of a spoken question before it is over",
        "auto|direct|relay|off",
        choices=("auto", "direct", "relay", "off"),
        default="auto",
    ),
    shared.IMAGE_TOKENS,
    shared.DRAFTER,
    shared.DRAFT,
    *hosting.OPTIONS,
    Option(
        "--also",
        "further computers with a whole model each: a conversation stays on one; local: one more "
        "here",
        "HOST,...",
    ),
    Option("--park", "GB of the disk on which conversations are parked (0)", "GB", float),
    Option(
        "--print-config",
        "print what to set in another program (opencode, codex, claude-code, llm, ...; see "
        "docs/serve.md), and serve nothing",
        "NAME",
    ),
    Option("--log", "a file for what the server and its worker report", "FILE", shared.new_file),
    shared.FORCE,
)


def _serve(options: argparse.Namespace) -> None:
    from ..serve import certificate

    if options.make_certificate:
        put(certificate.made(Path(options.certificate or "gemma4.pem"), options.allow_host))
        return
    from ..cluster.ssh import ENGINE
    from ..runtime.commands import SessionSettings
    from ..runtime.subprocess_worker import SubprocessWorker
    from ..serve.app import config, make_app, run
    from ..serve.engine import Engine, EngineOptions
    from ..serve.guard import Doors
    from ..serve.slot_memory import context_here

    host = options.host or LOOPBACK[0]
    if host not in LOOPBACK and not options.api_key:
        raise Gemma4Error(
            "key_missing",
            "The server needs a key",
            f"Others can reach {host}.",
            "Choose one with --api-key KEY, or leave --host out.",
        )
    for name, value, low, high in (
        ("slots", options.slots, 1, 8),
        ("port", options.port, 0, 65_535),
        ("context", options.context, 1, 2**26),
        ("park", options.park, 0, 100_000),
    ):
        if value is not None and not low <= value <= high:
            raise out_of_range(name, value, f"{low} to {high:,}")
    if options.print_config:
        _print_settings(options, host)
        return
    if options.certificate or options.key:
        certificate.check(options.certificate, options.key)
    log = Path(options.log) if options.log else None
    with disk.explained():
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=log, level=logging.INFO if log else logging.ERROR,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )  # fmt: skip
    if log is None:  # errors that matter are printed, or answered
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    model = shared.model_of(options)
    if not options.also and ENGINE not in os.environ:  # of several engines one may lack it
        _need(model, options.drafter)
    hosts = None if options.also else hosting.chosen(options)
    if not (options.also or options.force):
        context = context_here(model, options.slots, options.context, hosts)
        if context != options.context:
            room = counted(options.slots, "conversation")
            inform(f"Memory has room for {room} of {context:,} tokens.")
            options.context = context
    session = SessionSettings(
        image_tokens=options.image_tokens,
        hearing="auto" if options.hearing == "off" else options.hearing,
        context=options.context,
        park=disk.own_cache("served") if options.park else None,
        park_bytes=round((options.park or 0) * 1e9),
    )
    settings = EngineOptions(
        model=model,
        slots=options.slots,
        force=options.force,
        fetches=options.fetch,
        settings=session,
        drafter=options.drafter,
        draft=options.draft,
        live=options.hearing != "off",
    )
    doors = Doors(options.api_key or "", (host, *options.allow_host), (*options.allow_origin,))
    if options.also is not None:
        _serve_also(options, doors, host)
        return
    app = make_app(Engine(SubprocessWorker(log, hosts), settings), doors)
    configured = config(app, host, options.port, options.certificate, options.key)
    run(configured, put, bool(options.api_key))


def _need(model: str, drafter: str | None) -> None:
    """Raise where what is to be served is not on this machine."""
    catalog.resolve(model)
    if (adapter := installed_adapters.split(model)[1]) is not None:
        installed_adapters.find(adapter)
    if drafter is not None:
        catalog.resolve(drafter, "drafter")


def _print_settings(options: argparse.Namespace, host: str) -> None:
    """Print what another program needs; where it goes, on stderr."""
    from ..serve.client_settings import CLIENTS, filled, root_of, settings_text, trusting

    root = root_of(host, options.port, bool(options.certificate))
    model = Path(str(options.model or catalog.default())).name
    text = settings_text(options.print_config, root, model, options.api_key or "")
    inform(f"{filled(CLIENTS[options.print_config].place, root, model)}:\n")
    put(text)
    if options.certificate:
        inform(f"\n{trusting(options.certificate)}")


def _serve_also(options: argparse.Namespace, doors: "Doors", host: str) -> None:
    """Serve over several engines; this computer has one too."""
    from ..cluster.engines import start_engines
    from ..cluster.hosts import LOCAL
    from ..runtime.threads import start_thread
    from ..serve.also import EngineHost, Router, make_router
    from ..serve.app import config, run

    if any((options.hosts, options.cut, options.keep_layers, options.remote_folder)):
        raise not_understood(
            "--hosts, and the options for it, spread one model; --also has a whole one on each "
            "computer.",
            "Leave out either.",
        )
    arguments = [
        part
        for name in _OF_ENGINES
        if (value := getattr(options, name)) is not None and value is not False
        for part in ([flag(name)] if value is True else [flag(name), str(value)])
    ]
    processes = start_engines([LOCAL, *options.also.split(",")], arguments, options.remote_command)

    def end() -> None:
        for process in processes:
            process.close()

    try:
        names = ["this computer", *(f"{one.host} {n}" for n, one in enumerate(processes) if n)]
        router = Router([*map(EngineHost, names, (one.url for one in processes))])
        for engine, process in zip(router.hosts, processes, strict=True):
            ended = partial(process.when_ended, partial(router.leave, engine))
            start_thread(ended, f"end of {process.host}")
        app = make_router(router, doors, end)
        configured = config(app, host, options.port, options.certificate, options.key)
        run(configured, put, bool(options.api_key))
    finally:
        end()


COMMAND = Subcommand(
    "serve",
    "let other programs use the model",
    "Serve the model to other programs, as OpenAI's API does. Ctrl-C ends.",
    OPTIONS,
    _serve,
)
