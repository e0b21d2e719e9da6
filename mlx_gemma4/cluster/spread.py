"""Loads a model over several computers: cuts it, and sends each worker the layers that it lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..checkpoint.files import weight_files
from ..checkpoint.load import fill, read_folder
from ..errors import Gemma4Error
from ..footprint import device, held
from ..footprint.summary import Outline, of_drafter, of_folder
from ..model import one_row
from ..model.config import Config
from . import facts
from .crew import Crew, WorkerProcess
from .cut import Cut, at, layer_tensors, part_config, part_tensors
from .fit import Computer, best, computers_of, least_need, parts
from .hosts import Hosts
from .layers import digest, stored_tensors
from .leader import LeadingModel
from .worker import Assignment, type_name

Progress = Callable[[str, int, int], object]
"""Called with a host, and how many of its bytes have been sent, of how many."""

_SAMPLE = 16  # values of a tensor
_crew: Crew | None = None  # MLX has one ring in the life of a process


def load_spread(
    folder: Path,
    hosts: Hosts,
    dtype: mx.Dtype | None = None,
    mask_rule: Any = "official",
    force: bool = False,
    progress: Progress = lambda host, done, total: None,
    trace: bool = False,
    drafter: Path | None = None,
) -> LeadingModel:
    """Load a model folder over this computer and others.

    Args:
        folder: the model's, here; the others need none.
        hosts: the others.
        dtype: see `load_folder`.
        mask_rule: see `Gemma4`.
        force: load it even if a part does not fit into its memory.
        progress: called while layers are sent.
        trace: have each worker report when each of its steps was (`Crew.arrived`).
        drafter: the folder of its drafter, whose memory is counted.

    Raises:
        Gemma4Error: a host cannot be used, a part does not fit, or the folder cannot be used.
    """
    config, weights = read_folder(folder)
    crew = _crew_of(hosts)
    outline = of_folder(folder)
    if drafter is not None:
        outline = replace(outline, drafter=of_drafter(drafter))
    cut = _cut(outline, config, crew, force)
    least = [least_need(part, device.this()) for part in parts(outline.model, cut)]
    held.hold(folder.name, least[0])
    layout: Any = "plain"
    if one_row.applies(config.text_config, {n: t.shape for n, t in weights.items()}):
        layout = "one_row"
    if dtype is None and mx.default_device() == mx.cpu:
        dtype = mx.float32
    for worker in crew.workers:
        worker.layers = cut.layers(worker.rank)
        named = None if dtype is None else type_name(dtype)
        stops = (worker.layers.start, worker.layers.stop)
        part = Assignment(
            dict(config.raw), stops, layout, named, mask_rule, trace, least[worker.rank]
        )
        crew.send(worker, "layers", asdict(part))
    _send_layers(crew, folder, progress)
    own = cut.layers(0)
    model = LeadingModel(part_config(config, own, True), layout, crew)
    mine = part_tensors(weights, own, True)
    model.borrow(config, {n: t for n, t in weights.items() if ".k_norm." in n}, dtype)
    weights.clear()
    fill(model, mine, str(folder), dtype)
    for worker in crew.workers:
        crew.reply(worker, "built")
    model.config = config
    model.mask_rule = mask_rule
    model._fingerprint = _fingerprint(model, folder)
    return model


def _crew_of(hosts: Hosts) -> Crew:
    """This process's crew, which is started with the first model and used for all others."""
    global _crew
    if _crew is None:
        _crew = Crew(hosts)
    elif _crew.hosts.names != hosts.names:
        raise Gemma4Error(
            "hosts_fixed",
            "The hosts cannot be changed",
            f"This process is connected to {', '.join(_crew.hosts.names)}.",
            "Start the program again with the other hosts.",
        )
    _crew.check()
    return _crew


def _cut(outline: Outline, config: Config, crew: Crew, force: bool) -> Cut:
    """The cut that is asked for, or else the best; an even one where nothing fits."""
    names = crew.hosts.names
    ranks, count = len(names) + 1, len(config.text_config.layer_types)
    if crew.hosts.cut:
        return at(crew.hosts.cut, config, ranks)
    place, taken = facts.machine()
    own = Computer("this computer", place, facts.speed(), taken)
    try:
        return best(outline, computers_of(own, names, [one.facts for one in crew.workers]))
    except Gemma4Error:
        if not force:
            raise
        return at(tuple(count * rank // ranks for rank in range(1, ranks)), config, ranks)


def _send_layers(crew: Crew, folder: Path, progress: Progress) -> None:
    """Send each worker what it lacks; a layer is read when it is sent, a tensor at a time."""
    tensors = stored_tensors(folder)
    held = {}
    for worker in crew.workers:
        crew.send(worker, "held")
    for worker in crew.workers:
        held[worker.rank] = set(crew.reply(worker, "held")[1])
    digests: dict[int, str] = {}
    if any(held.values()) or crew.hosts.keep:
        for worker in crew.workers:
            digests |= {n: digest(layer_tensors(tensors, n)) for n in worker.layers}
    for worker in crew.workers:
        missing = [n for n in worker.layers if digests.get(n) not in held[worker.rank]]
        sizes = {n: _nbytes(layer_tensors(tensors, n)) for n in missing}
        done, total = 0, sum(sizes.values())
        _, lazy = read_folder(folder)
        for layer in worker.layers:
            if layer in sizes:
                progress(worker.name, done, total)
                _send_layer(crew, worker, layer, digests.get(layer), lazy)
                done += sizes[layer]
            else:
                crew.send(worker, "layer", layer, digests[layer], [], [])
        progress(worker.name, total, total)
        crew.send(worker, "build", list(digests.values()))


def _send_layer(
    crew: Crew,
    worker: WorkerProcess,
    layer: int,
    named: str | None,
    lazy: dict[str, mx.array],
) -> None:
    tensors = layer_tensors(lazy, layer)
    for name in [name for name in lazy if f".layers.{layer}." in name]:
        del lazy[name]  # whoever keeps what was sent holds it in memory
    specs = [[list(t.shape), type_name(t.dtype), 0] for t in tensors.values()]
    crew.send(worker, "layer", layer, named or "", list(tensors), specs)
    for name in list(tensors):
        tensor = mx.contiguous(tensors.pop(name))
        mx.eval(tensor)
        crew.ring.send(tensor, worker.rank)
        del tensor
        crew.ring.flush()
        mx.clear_cache()


def _nbytes(tensors: Mapping[str, Any]) -> int:
    return sum(held.tensor.nbytes for held in tensors.values())


def _fingerprint(model: LeadingModel, folder: Path) -> str:
    """A model's name for parked rows, which is the same wherever it is cut."""
    config = model.config
    result = hashlib.sha256(
        repr((config.text_config, config.vision_config, config.audio_config)).encode()
    )
    names = [name for name in model.tensors() if ".layers." not in name or ".layers.0." in name]
    for name in sorted(names):
        values = model.tensors()[name].reshape(-1)[:_SAMPLE].astype(mx.float32)
        result.update(name.encode() + np.array(values).tobytes())
    for name, path in weight_files(folder).items():
        known = path.stat()
        result.update(f"{name} {known.st_size} {known.st_mtime_ns}".encode())
    return result.hexdigest()
