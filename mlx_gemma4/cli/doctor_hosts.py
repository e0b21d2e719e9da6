"""`gemma4 doctor --hosts`: what there is and what is missing for a model over several computers."""

import argparse
from collections.abc import Iterator

import mlx.core as mx

from ..cluster import facts, mac, survey
from ..cluster.crew import Crew, WorkerProcess
from ..cluster.hosts import Facts, Hosts
from ..errors import Gemma4Error
from .doctor import Finding

TOKENS_A_SECOND = 20
"""Of the 12B in 4 bits on a Mac, to show the link's share of the time; not a measurement."""
_CHUNK = 1024 * 3840 * 2  # bytes of the 12B's hidden states for a chunk of a prompt, in bfloat16
_SLOW = 0.005  # seconds there and back, from which on answers become noticeably slower


def findings(hosts: Hosts) -> Iterator[Finding]:
    """Check each host alone, then the links between all."""
    usable = True
    for rank, host in enumerate(hosts.names, start=1):
        found = list(_host(host, rank, hosts))
        usable = usable and all(one.level != "problem" for one in found)
        yield from found
    if not usable:
        return
    try:
        crew = Crew(hosts)
    except Gemma4Error as error:
        yield Finding("problem", "ring", f"{error.title}: {error.cause}", error.remedy)
        return
    try:
        way = "over TCP, and have proved the nonce"
        if mx.distributed.is_available("jaccl"):
            way += "; RDMA is there and not used (docs/several-macs.md)"
        yield Finding("ok", "ring", f"all computers are connected {way}")
        for worker, link in zip(crew.workers, survey.measure(crew), strict=True):
            yield from _link(worker, link)
    except Gemma4Error as error:
        yield Finding("problem", "ring", f"{error.title}: {error.cause}", error.remedy)
    finally:
        crew.close()


def chosen(options: argparse.Namespace) -> Hosts:
    return Hosts.read(options.hosts, command=options.remote_command)


def _host(host: str, rank: int, hosts: Hosts) -> Iterator[Finding]:
    """Start a worker, and yield findings of what it reports of itself."""
    worker = None
    try:
        worker = WorkerProcess(host, rank, hosts)
        worker.greet()
    except Gemma4Error as error:
        yield Finding("problem", host, error.cause, error.remedy)
        return
    finally:
        if worker is not None:
            worker.close()
    yield from _reported(host, worker.facts)


def _reported(host: str, found: Facts) -> Iterator[Finding]:
    yield Finding("ok", host, f"mlx-gemma4 {found.version}, MLX {found.mlx}, {found.system}")
    budget = f"{found.machine.budget / 1e9:.2f} GB for a model ({found.machine.rule})"
    yield Finding("ok", host, f"{budget}; {found.speed / 1e9:.0f} GB/s of weights")
    if found.taken:
        yield Finding("ok", host, found.taken)
    link, own = (name or "unknown" for name in (found.link, facts.link_name(found.leader)))
    way = f"at {found.address} ({link}), from {found.leader} ({own})"
    if "Wi-Fi" in link + own:
        cable = "A Thunderbolt or Ethernet cable is faster"
        yield Finding("warning", host, way, f"{cable}; name the host by its address on the cable.")
    else:
        yield Finding("ok", host, way)
    for place, state in ((host, found.firewall), ("this Mac", mac.firewall())):
        if state == "on":
            remedy = "If the ring cannot be connected, allow python there."
            yield Finding("warning", host, f"the firewall of {place} is on", remedy)


def _link(worker: WorkerProcess, link: survey.Link) -> Iterator[Finding]:
    token, chunk = link.seconds, _CHUNK / link.bytes_per_second
    share = token / (token + 1 / TOKENS_A_SECOND)
    said = (
        f"{1000 * token:.2f} ms there and back, {link.bytes_per_second / 1e6:,.0f} MB/s: of the "
        f"12B's time for a token (at {TOKENS_A_SECOND} a second) {share:.1%} is the link; a chunk "
        f"of 1,024 tokens takes {1000 * chunk:,.0f} ms"
    )
    slow = token > _SLOW
    remedy = "Connect the computers by a cable." if slow else ""
    yield Finding("warning" if slow else "ok", worker.name, said, remedy)
