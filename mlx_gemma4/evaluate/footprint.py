"""Memory and speed of a model with a conversation of some length, in a process of its own.

    python -m mlx_gemma4.evaluate.footprint FOLDER CONTEXT KV_BITS FORCE

A new process has a peak of its own. It loads the model, reads a prompt of random ids as
`PrefixCache` does, and draws some more; memory depends on their number alone. The last ids pass a
place at which the cache's buffers grow, which is when most is held.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error
from ..footprint import device, estimate, summary
from .surroundings import peak_memory

BEFORE, AFTER = 8, 24
"""Ids of the answer before and after the place, a multiple of `cache.STEP`, where buffers grow."""


def measure(folder: Path, context: int, kv_bits: int | None, force: bool) -> dict[str, Any]:
    """Measure a model, while nothing else needs memory, beside what was predicted.

    Its conversation has `context` tokens, a multiple of `cache.STEP`.

    Returns:
        In bytes `load`, `prefill` and `decode` (MLX's peaks), `rows` (the caches' buffers after
        reading) and `resident` (the process's peak); tokens a second `prefill_speed` and
        `decode_speed`; and `predicted_` load, prefill, decode and rows, from `estimate.need`.
    """
    model, here = summary.of_folder(folder).model, device.this()
    read, end = context - BEFORE, context + AFTER
    reading = estimate.need(model, here, read, kv_bits)
    answering = estimate.need(model, here, end, kv_bits, BEFORE + AFTER)
    if not force:
        check(folder, end, kv_bits)
    given = [str(folder), str(context), str(kv_bits or 0), str(int(force))]
    done = subprocess.run(
        [sys.executable, "-P", "-m", __spec__.name, *given], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise Gemma4Error(
            "measurement_failed",
            "The measurement has ended",
            f"Its process stopped with status {done.returncode}: {last}",
            "If the system stopped it, there was too little memory.",
        )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured | {
        "predicted_load": reading.weights,
        "predicted_prefill": reading.weights + reading.rows + reading.reading,
        "predicted_decode": answering.weights + answering.rows + answering.answering,
        "predicted_rows": reading.rows,
    }


def peak(measured: Mapping[str, Any]) -> float:
    """GB of 10^9 bytes that were held at most, of what `measure` returns."""
    return float(max(measured["prefill"], measured["decode"]) / 1e9)


def predicted(measured: Mapping[str, Any]) -> float:
    """The same, as predicted."""
    return float(max(measured["predicted_prefill"], measured["predicted_decode"]) / 1e9)


def check(folder: Path, context: int, kv_bits: int | None = None, loaded: bool = False) -> None:
    """Raise Gemma4Error for what does not fit, since Metal would end the program.

    Args:
        loaded: whether the weights are in the memory already.
    """
    here = device.this()
    need = estimate.need(summary.of_folder(folder).model, here, context, kv_bits)
    more = need.total - (need.weights if loaded else 0)
    if more > here.budget:
        raise Gemma4Error(
            "memory_too_small",
            "It does not fit into the memory",
            f"{context:,} tokens need {more / 1e9:.2f} GB more; {here.name} has "
            f"{here.budget / 1e9:.2f} GB ({here.rule}).",
            "Take fewer bits, or ask about shorter conversations.",
        )


def _measure(folder: Path, context: int, kv_bits: int | None, force: bool) -> dict[str, Any]:
    import mlx.core as mx
    import numpy as np

    from .. import load
    from ..generation.prefill_decode import decode, finish, prefill
    from ..generation.sampler import Sampler
    from ..limits import SEGMENT

    model = load(folder, force=force)
    measured = {"load": mx.get_peak_memory()}
    config = model.config
    placeholders = {config.image_token_id, config.audio_token_id, config.video_token_id}
    words = [n for n in range(config.text_config.vocab_size) if n not in placeholders]
    ids = np.random.default_rng(0).choice(words, context - BEFORE)

    mx.reset_peak_memory()
    started = time.perf_counter()
    cache = model.make_cache(kv_bits)
    for start in range(0, len(ids), SEGMENT):
        hidden = finish(prefill(model, model.embed(ids[start : start + SEGMENT]), cache))
        mx.eval(hidden)
    measured["prefill"] = mx.get_peak_memory()
    seconds, rows = time.perf_counter() - started, cache.nbytes
    assert hidden is not None

    mx.reset_peak_memory()
    sampler = Sampler(1.0, config.top_k, config.top_p)
    times = [
        time.perf_counter() for _ in decode(model, hidden, cache, sampler, (), BEFORE + AFTER + 1)
    ]
    return measured | {
        "decode": mx.get_peak_memory(),
        "resident": peak_memory(),
        "rows": rows,
        "prefill_speed": len(ids) / seconds,
        "decode_speed": (len(times) - 1) / (times[-1] - times[0]),
    }


if __name__ == "__main__":
    place, rows, bits, forced = sys.argv[1:]
    json.dump(_measure(Path(place), int(rows), int(bits) or None, forced == "1"), sys.stdout)
