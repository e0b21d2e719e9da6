"""What each matrix of the decoder would lose at so many bits, from the weights alone.

Nothing is run, so a model of any size is measured in the memory of a few rows. The estimate of a
matrix's part of the loss (the KL divergence of the next token's distribution) is

    relative squared error of its weights  x  share of its branch  x  root of the layers to come

and a third of it for matrices that only decide where to look. For small errors the loss is
quadratic in them and adds up over the matrices. Each branch, attention or MLP, ends in a norm, so a
relative error of a matrix in it is one of what the branch adds to the residual stream, and the
norm's weight shows how much of the stream that is. The layers to come read that error and add their
own. The root and the third were measured on the tiny model; `bench/recipes.py`, part `budget`,
prints how well the estimate ranks its matrices.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import BinaryIO

import mlx.core as mx

from ..checkpoint.encode import as_array, encode
from ..checkpoint.recipes import Storage
from ..checkpoint.safetensors import data_start
from ..hub.sources import Source
from ..model.config import FULL, TextConfig
from .plan import File, Part, check_finite

_SAMPLE = 2**20  # weights of a matrix that are looked at
_PLACES = 32  # runs of rows that they come from
_DECODER = "language_model.model."

_LOOKS = 1 / 3


def losses(
    source: Source,
    config: TextConfig,
    files: Sequence[File],
    choices: Mapping[str, Sequence[Storage]],
    on_progress: Callable[[int], None],
) -> dict[str, list[float]] | None:
    """Estimate what each matrix loses in several ways to store it.

    Args:
        files: of a plan; each file of the source is opened and released in turn.
        choices: by module path.
        on_progress: called with the bytes of the source that were examined.

    Returns:
        By module path, a loss for each choice; None if opening a file was cancelled.
    """
    errors: dict[str, list[float]] = {}  # mean squares too
    power: dict[str, float] = {}  # mean squares, by module path
    for shard, group in groupby(files, key=lambda file: file.shard):
        path = source.open(shard)
        if path is None:
            return None
        with path.open("rb") as data:
            for part in (part for file in group for part in file.parts):
                module = part.name.removesuffix(".weight")
                if module.startswith(_DECODER):
                    rows = _sample(data, part)
                    power[module] = float(mx.square(rows).mean())
                    errors[module] = [_error(rows, s) for s in choices.get(module, ())]
                on_progress(part.source.nbytes)
        source.release(shard)
    counts = {
        path: part * math.sqrt(len(config.layer_types) - _layer(path))
        for path, part in shares(config, power).items()
    }
    return {
        # the embedding table, which is the output head too, is in no branch
        module: [
            counts.get(module.rpartition(".")[0], 1.0) * looks(module, config) * e / power[module]
            for e in errors[module]
        ]
        for module in choices
    }


def shares(config: TextConfig, power: Mapping[str, float]) -> dict[str, float]:
    """Return what part of the last layer's output each branch has written, as squares.

    The stream starts with the scaled embeddings; a branch adds its norm's output, whose mean square
    is that of the norm's weight; and each layer multiplies all there is by its scalar.

    Args:
        power: mean squares of the embedding table, the norms' weights and the scalars, by path.

    Returns:
        By path of the branch ("language_model.model.layers.0.mlp").
    """
    written: dict[str, float] = {}
    stream = power[f"{_DECODER}embed_tokens"] * config.hidden_size
    for n in range(len(config.layer_types)):
        layer = f"{_DECODER}layers.{n}"
        written[f"{layer}.self_attn"] = power[f"{layer}.post_attention_layernorm"]
        written[f"{layer}.mlp"] = power[f"{layer}.post_feedforward_layernorm"]
        stream += written[f"{layer}.self_attn"] + written[f"{layer}.mlp"]
        scalar = power[f"{layer}.layer_scalar"]
        stream *= scalar
        written = {path: part * scalar for path, part in written.items()}
    return {path: part / stream for path, part in written.items()}


def looks(module: str, config: TextConfig) -> float:
    """A third for a matrix that only decides where to look, else one.

    A full layer's k_proj makes the values too where `attention_k_eq_v` is set.
    """
    if module.endswith(".k_proj"):
        full = config.layer_types[_layer(module)] == FULL
        return 1.0 if full and config.attention_k_eq_v else _LOOKS
    return _LOOKS if module.endswith(".q_proj") else 1.0


def _layer(path: str) -> int:
    # language_model.model.layers.N.self_attn.q_proj
    return int(path.split(".")[3])


def _sample(data: BinaryIO, part: Part) -> mx.array:
    """Some rows of a matrix, from places that are evenly spread, or a whole vector; float32."""
    tensor = part.source
    rows, *columns = tensor.shape
    width = columns[0] if columns else 1
    count = min(rows, -(-_SAMPLE // width))
    run = -(-count // _PLACES)
    starts = [place * (rows - run) // max(1, _PLACES - 1) for place in range(_PLACES)]
    if run * _PLACES >= rows:
        run, starts = rows, [0]
    size = tensor.nbytes // rows
    at = data_start(data) + tensor.start
    read = b"".join(os.pread(data.fileno(), run * size, at + start * size) for start in starts)
    check_finite(read, tensor, part.name)  # what is kept of a damaged model would be used again
    return as_array(read, tensor.dtype).reshape(-1, width).astype(mx.float32)


def _error(rows: mx.array, storage: Storage) -> float:
    """The mean squared change of rows that are stored so."""
    weight, scales, biases = encode(rows.astype(mx.bfloat16), storage, grid=False)
    scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    back = mx.dequantize(weight, scales, biases, storage.group_size, storage.bits)
    return float(mx.square(back - rows).mean())
