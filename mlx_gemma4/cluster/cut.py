"""Where a model is cut between its layers, and what belongs to each part. Imports no MLX.

Rank 0 leads: it has the first layers, and all that is no layer (the embedding table, which is the
output head too, the final norm, the embedders of pictures and sound).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..errors import Gemma4Error
from ..model.config import SLIDING, Config

_LAYER = re.compile(r"((?:^|\.)layers\.)(\d{1,9})(?=\.)")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Cut:
    """`stops`: for each rank, the first layer after its own; the last is the number of layers."""

    stops: tuple[int, ...]

    @property
    def ranks(self) -> int:
        return len(self.stops)

    def layers(self, rank: int) -> range:
        return range(self.stops[rank - 1] if rank else 0, self.stops[rank])

    def __str__(self) -> str:
        return " + ".join(str(len(self.layers(rank))) for rank in range(self.ranks))


def at(stops: tuple[int, ...], config: Config, ranks: int) -> Cut:
    """Make the cut that a user asks for.

    Args:
        stops: the layers before which the model is cut, one fewer than there are ranks.

    Raises:
        Gemma4Error: a rank would have no layer, or rank 0 none with a window.
    """
    count = len(config.text_config.layer_types)
    cut = Cut((*stops, count))
    edges = [least_of_leader(config), *cut.stops]
    if (
        cut.ranks != ranks
        or edges[0] > edges[1]
        or any(len(cut.layers(n)) < 1 for n in range(ranks))
    ):
        raise Gemma4Error(
            "cut_unusable",
            "The model cannot be cut there",
            f"It has {count} layers for {ranks} computers, and the cut is at "
            f"{', '.join(map(str, stops)) or 'none'}.",
            f"Name {ranks - 1} in order, from {edges[0]} to {count - 1}: --cut {count // ranks}.",
        )
    return cut


def least_of_leader(config: Config) -> int:
    """The fewest layers of rank 0: one has a window, which decides how far rank 0 can go back."""
    kinds = config.text_config.layer_types
    return kinds.index(SLIDING) + 1 if SLIDING in kinds else 1


def part_config(config: Config, layers: range, leads: bool) -> Config:
    """The settings of a part, whose layers are counted from 0."""
    text = config.text_config
    kinds = text.layer_types[layers.start : layers.stop]
    text = replace(text, layer_types=kinds, num_hidden_layers=len(kinds))
    part = replace(config, text_config=text)
    if config.quantization is not None:
        # settings of one module are under its name, in any spelling; the others have none
        part = replace(part, quantization=part_tensors(config.quantization, layers, True))
    return part if leads else replace(part, vision_config=None, audio_config=None)


def part_tensors(tensors: Mapping[str, Value], layers: range, leads: bool) -> dict[str, Value]:
    """What belongs to a part, by names that count its layers from 0."""
    result: dict[str, Any] = {}
    for name, value in tensors.items():
        found = _LAYER.search(name)
        if found is None:
            if leads:
                result[name] = value
        elif (number := int(found[2])) in layers:
            start, stop = found.span(2)
            result[f"{name[:start]}{number - layers.start}{name[stop:]}"] = value
    return result


def layer_tensors(tensors: Mapping[str, Value], layer: int) -> dict[str, Value]:
    """The tensors of one layer, by names that count it as layer 0; in the order of the names."""
    return dict(sorted(part_tensors(tensors, range(layer, layer + 1), False).items()))
