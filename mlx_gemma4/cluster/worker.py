"""The process that holds some of a model's layers: `gemma4 worker`, which a leader starts over ssh.

It mirrors what the leader's model and caches do, and sees shapes and numbers of blocks, never ids,
text, pictures or sound. It ends with its leader: when stdin is closed, or after SILENCE seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import mlx.core as mx
import numpy as np

from .. import threads
from ..checkpoint.load import fill
from ..errors import Gemma4Error
from ..footprint import held
from ..hub import disk
from ..model.cache import Cache, Mark
from ..model.config import Config
from ..model.gemma4 import Gemma4
from ..model.inputs import Inputs
from ..model.text import Layout
from . import facts, links, mac, ring
from .control import ControlLine, Message
from .cut import part_config
from .hosts import LOST
from .layers import KeptLayers

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Seconds without a sign of the leader after which a worker ends: its link is dead."""
CARRY_TENSORS = ("step", "fill", "layer", "bounce")
"""Messages whose last entry lists tensors that follow over the ring: [shape, type, rank] each."""
_FREED_ROWS = 256  # rows after which freed buffers are released, as in prefill and decode


class LayersOnly(Gemma4):
    """The decoder's layers, without an embedding table, a head or a final norm."""

    def __init__(self, config: Config, layout: Layout) -> None:
        super().__init__(config, layout)
        text = self.language_model.model
        del text["embed_tokens"], text["norm"]


@dataclass(frozen=True)
class Assignment:
    """Which part of which model a rank holds.

    Attributes:
        raw: config.json.
        layers: first layer, and the one after the last.
        layout: of full layers.
        dtype: to which tensors that are not quantized are converted; None: as they are stored.
        mask_rule: the leader's.
        trace: whether each step is reported.
        bytes: that it takes with a short conversation.
    """

    raw: dict[str, Any]
    layers: tuple[int, int]
    layout: Layout
    dtype: str | None
    mask_rule: Any
    trace: bool = False
    bytes: int = 0


class ClusterWorker:
    """A worker between a control line and a ring; `run` ends with the leader."""

    def __init__(self, line: ControlLine, kept: KeptLayers) -> None:
        self._line, self._kept = line, kept
        self._messages: SimpleQueue[tuple[Message, list[Future[mx.array]]] | None] = SimpleQueue()
        self._last_sign = time.monotonic()
        self._listener: links.Listener | None = None
        self._ring: ring.Ring | None = None
        self._connected = threading.Event()
        self._model: LayersOnly | None = None
        self._assignment: Assignment | None = None
        self._tensors: dict[str, mx.array] = {}
        self._caches: dict[int, Cache] = {}
        self._marks: dict[int, Mark] = {}
        self._states: mx.array | None = None
        self._rows = 0

    def run(self) -> None:
        self._line.send("hello", facts.gather().json())
        for work in (self._read, self._beat):
            threads.start(work, work.__name__, lambda error: _end(self._line, error))
        while (item := self._messages.get()) is not None:
            message, expected = item
            self._do(message, expected)

    def _read(self) -> None:
        """Take messages in, and end the process when the leader is gone, whatever else runs."""
        while (message := self._line.receive()) is not None:
            self._last_sign = time.monotonic()
            if message[0] == "alive":
                continue
            expected = []
            if message[0] in CARRY_TENSORS:
                self._connected.wait()
                assert self._ring is not None
                expected = [
                    self._ring.expect(shape, getattr(mx, dtype), source)
                    for shape, dtype, source in message[-1]
                ]
            self._messages.put((message, expected))
        os._exit(0)

    def _beat(self) -> None:
        """Send signs of life, and end the process after SILENCE seconds without the leader's."""
        while time.monotonic() - self._last_sign < SILENCE:
            with contextlib.suppress(OSError):
                self._line.send("alive")
            time.sleep(BEAT)
        os._exit(0)

    def _do(self, message: Message, expected: list[Future[mx.array]]) -> None:
        match message:
            case ["step", number, blocks, _]:
                self._step(number, blocks, expected[0])
            case ["logits", rows]:
                self._send_rows(rows)
            case ["cache", number, kv_bits, slack]:
                self._caches[number] = self._need_model.make_cache(kv_bits, slack)
            case ["drop", number]:
                self._caches.pop(number, None)
            case ["mark", number, mark]:
                self._marks[mark] = self._caches[number].mark()
            case ["adopt", number, mark, own]:
                self._marks[own] = self._caches[number].adopt(self._marks[mark])
            case ["forget", mark]:
                self._marks.pop(mark, None)
            case ["rewind", number, mark]:
                self._caches[number].rewind(self._marks[mark])
            case ["rewind_to", number, offset]:
                self._caches[number].rewind_to(offset)
            case ["fetch", number, layer, start]:
                self._send_cache(number, layer, start)
            case ["fill", number, offset, names, _]:
                tensors = dict(zip(names, map(self._need_ring.take, expected), strict=True))
                self._caches[number].fill(offset, tensors)
            case ["listen"]:
                self._listener = links.Listener(facts.link()[1])
                self._line.send("listening", self._listener.port)
            case ["ring", rank, places, nonce]:
                assert self._listener is not None, "the leader has it listen first"
                with self._listener as listener:
                    left, right = links.join(listener, rank, places, nonce)
                self._ring = ring.connect(rank, len(places), left, right)
                self._connected.set()
                self._line.send("connected")
            case ["layers", assignment]:
                self._assign(Assignment(**assignment))
            case ["held"]:
                self._line.send("held", self._kept.digests(range(*self._need.layers)))
            case ["layer", layer, digest, names, _]:
                self._take_layer(layer, digest, names, expected)
            case ["build", wanted]:
                self._build(wanted)
            case ["count"]:
                counts = {"caches": len(self._caches), "marks": len(self._marks)}
                memory = mx.get_active_memory(), mx.get_peak_memory()
                self._line.send("count", {**counts, "active": memory[0], "peak": memory[1]})
            case ["bounce", _]:
                for one in expected:
                    self._need_ring.send(self._need_ring.take(one), 0)
            case _:
                raise ValueError(f"{message[0]!r} is no message of the protocol")

    def _step(self, number: int, blocks: list[int] | None, expected: Future[mx.array]) -> None:
        states, cache = self._need_ring.take(expected), self._caches[number]
        started = time.time()
        rows = states.shape[1]
        places = np.zeros(rows, np.int32) if blocks is None else np.array(blocks, np.int32)
        self._states = self._need_model.states(Inputs(states, places), cache)
        mx.eval(self._states, cache.arrays)
        if self._need_ring.right:  # not back to the leader, which asks for the rows that it needs
            self._need_ring.send(self._states, self._need_ring.right)
        if self._need.trace:
            self._line.send("stepped", rows, started, time.time())
        self._rows += rows
        if self._rows >= _FREED_ROWS:
            mx.clear_cache()
            self._rows = 0

    def _send_rows(self, rows: int) -> None:
        """Send the leader the last rows of the step before, if this rank has the last layers."""
        if not self._need_ring.right:
            assert self._states is not None
            last = mx.contiguous(self._states[:, -rows:])
            mx.eval(last)
            self._need_ring.send(last, 0)

    def _send_cache(self, number: int, layer: int | None, start: int) -> None:
        """Send the leader all that a cache holds, or a layer's rows from a position on."""
        cache, first = self._caches[number], self._need.layers[0]
        if layer is None:
            tensors = cache.tensors()
        else:
            rows = cache.layers[layer - first].rows.view(start, cache.offset)
            tensors = {f"{layer - first}.{part}": row for part, row in enumerate(rows)}
        described = []
        for name, tensor in tensors.items():
            place, part = name.split(".")
            shape, dtype = list(tensor.shape), type_name(tensor.dtype)
            described.append([f"{int(place) + first}.{part}", shape, dtype])
        self._line.send("tensors", described)
        for tensor in tensors.values():
            whole = mx.contiguous(tensor)
            mx.eval(whole)
            self._need_ring.send(whole, 0)

    def _assign(self, assignment: Assignment) -> None:
        """Drop the former part, its caches and marks, and take another."""
        self._model = self._states = None
        self._tensors, self._caches, self._marks = {}, {}, {}
        mx.clear_cache()
        self._assignment = assignment
        held.hold("layers of a model", assignment.bytes)

    def _take_layer(
        self, layer: int, digest: str, names: list[str], expected: list[Future[mx.array]]
    ) -> None:
        first, stop = self._need.layers
        if expected:
            tensors = dict(zip(names, map(self._need_ring.take, expected), strict=True))
            self._kept.add(digest, tensors)
        else:
            tensors = self._kept.read(digest, range(first, stop))
        for name, tensor in tensors.items():
            self._tensors[name.replace("layers.0.", f"layers.{layer - first}.")] = tensor

    def _build(self, wanted: list[str]) -> None:
        need = self._need
        config = part_config(Config.from_dict(need.raw), range(*need.layers), False)
        model = LayersOnly(config, need.layout)
        model.mask_rule = need.mask_rule
        dtype = None if need.dtype is None else getattr(mx, need.dtype)
        fill(model, self._tensors, "what the leader sent", dtype)
        self._model = model
        self._kept.keep_only(wanted)
        mx.clear_cache()
        self._line.send("built", sum(tensor.nbytes for tensor in model.tensors().values()))

    @property
    def _need_ring(self) -> ring.Ring:
        assert self._ring is not None, "the leader connects the ring first"
        return self._ring

    @property
    def _need_model(self) -> LayersOnly:
        assert self._model is not None, "the leader has it built first"
        return self._model

    @property
    def _need(self) -> Assignment:
        assert self._assignment is not None, "the leader assigns layers first"
        return self._assignment


def type_name(dtype: mx.Dtype) -> str:
    """The name of a type in `mlx.core`."""
    return str(dtype).rsplit(".", 1)[-1]


def main() -> None:
    """Run a worker as `serve` does, with the options of `gemma4 worker`."""
    parser = argparse.ArgumentParser("gemma4 worker")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep-layers", action="store_true")
    options = parser.parse_args()
    serve(options.folder, options.keep_layers)


def serve(folder: Path | None, keep: bool) -> None:
    """Run a worker on stdin and stdout; the process ends with its leader.

    Args:
        folder: a model folder whose layers may be used.
        keep: keep the layers that are sent.
    """
    # what anything prints must not come between the frames
    writer = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    reader = os.fdopen(os.dup(0), "rb")
    line = ControlLine(reader, writer)
    line.announce()
    try:
        kept = KeptLayers(folder, disk.own_cache("layers") if keep else None)
        mac.stay_awake()
        ClusterWorker(line, kept).run()
    except BaseException as error:
        _end(line, error)


def _end(line: ControlLine, error: BaseException) -> None:
    """Report an error to the leader, and end the process."""
    if not isinstance(error, Gemma4Error):
        cause = f"{type(error).__name__}: {error}."
        error = Gemma4Error("internal_error", "A worker has failed", cause, "Report it.")
    elif error.code == LOST or error.code.startswith("ring_"):
        # the leader knows better who is lost, if somebody has ended
        time.sleep(ring.KNOWN)
    with contextlib.suppress(OSError):
        line.send("failed", error.code, error.title, error.cause, error.remedy)
    sys.stderr.flush()
    os._exit(1)  # threads may wait in MLX


if __name__ == "__main__":
    main()
