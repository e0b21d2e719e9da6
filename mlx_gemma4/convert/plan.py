"""What a conversion will write: which file holds which tensors, stored how.

All of it follows from the headers of the source and the recipe, before a weight is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..checkpoint.encode import is_finite
from ..checkpoint.load import DERIVED, sanitize, with_sizes
from ..checkpoint.recipes import Recipe, Storage, settings, storage_of
from ..checkpoint.safetensors import Tensor
from ..checkpoint.shapes import Shapes, drafter_shapes, shapes
from ..errors import Gemma4Error
from ..hub.sources import Source
from ..model.config import Config, load_config
from ..model.drafter_config import DrafterConfig, is_drafter, load_drafter_config

FLOATS = ("BF16", "F16", "F32")
"""Types of the weights that can be converted, by safetensors' names."""

_FILE = 1024**3  # bytes of one file of weights, unless a single tensor is larger


@dataclass(frozen=True)
class Part:
    """A tensor of the source, under its new name, and how it will be stored (None: as it is)."""

    name: str
    source: Tensor
    storage: Storage | None

    @property
    def tensors(self) -> dict[str, Tensor]:
        if self.storage is None:
            return {self.name: self.source}
        return self.storage.tensors(self.name.removesuffix(".weight"), self.source)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class File:
    """A file of weights to write, and the source's file that holds all it needs."""

    name: str
    shard: str
    parts: tuple[Part, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What it will hold, in this order."""
        return {name: t for part in self.parts for name, t in part.tensors.items()}

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


@dataclass(frozen=True)
class Plan:
    """What a conversion will write: the content of config.json, and the files of weights."""

    config: dict[str, Any]
    files: tuple[File, ...]
    grid: bool

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)


def make_plan(source: Source, recipe: Recipe) -> Plan:
    """Plan a conversion; nothing but headers is read.

    Raises:
        Gemma4Error: the source is quantized already, or its tensors are not those of its config.
    """
    found = {n: (shard, t) for shard, tensors in source.shards.items() for n, t in tensors.items()}
    config: Config | DrafterConfig
    if is_drafter(source.settings):
        config = load_drafter_config(source.settings)
        renamed = {n: value for n, value in found.items() if not DERIVED.search(n)}
        root, expected = "language_model.", drafter_shapes(config)  # all of it is a decoder
    else:
        config = load_config(source.settings)
        renamed, root, expected = sanitize(found), "", shapes(config)
    if config.quantization is not None:
        raise impossible("It is quantized already.", "Start from the unquantized checkpoint.")
    _check(expected, {name: tensor for name, (_, tensor) in renamed.items()})
    text = config.text_config
    by_shard: dict[str, list[Part]] = {shard: [] for shard in source.shards}
    for name, (shard, tensor) in renamed.items():  # in the order of each shard's bytes
        path = name.removesuffix(".weight")
        is_weight = path != name
        storage = storage_of(recipe, text, root + path, tensor.shape) if is_weight else None
        by_shard[shard].append(Part(name, tensor, storage))
    groups = [(shard, group) for shard, parts in by_shard.items() for group in _grouped(parts)]
    names = ["model.safetensors"]
    if len(groups) > 1:
        names = [f"model-{n + 1:05}-of-{len(groups):05}.safetensors" for n in range(len(groups))]
    files = tuple(File(name, *group) for name, group in zip(names, groups, strict=True))
    return Plan(_config_json(config, recipe, files), files, recipe.grid)


def _grouped(parts: list[Part]) -> Iterator[tuple[Part, ...]]:
    """Cut a list where a file becomes full (_FILE)."""
    group: list[Part] = []
    size = 0
    for part in parts:
        if group and size + part.nbytes > _FILE:
            yield tuple(group)
            group, size = [], 0
        group.append(part)
        size += part.nbytes
    if group:
        yield tuple(group)


def _check(expected: Shapes, tensors: dict[str, Tensor]) -> None:
    given = {name: tensor.shape for name, tensor in tensors.items()}
    other = [n for n, tensor in tensors.items() if tensor.dtype not in FLOATS]
    for what, names in (
        ("are missing", sorted(set(expected) - set(given))),
        ("are unknown", sorted(set(given) - set(expected))),
        ("have another shape", [n for n in expected if given.get(n, expected[n]) != expected[n]]),
        ("are not floating-point numbers", other),
    ):
        if names:
            raise impossible(
                f"{len(names)} of its tensors {what}: {', '.join(names[:3])}"
                f"{' ...' if len(names) > 3 else ''}.",
                "Start from the published checkpoint (mlx-lm's converter leaves tensors out).",
            )


def _config_json(
    config: Config | DrafterConfig, recipe: Recipe, files: tuple[File, ...]
) -> dict[str, Any]:
    """The source's config, with `quantization` if there is any."""
    chosen = {
        part.name.removesuffix(".weight"): part.storage
        for file in files
        for part in file.parts
        if part.storage is not None
    }
    return with_sizes(config) | ({"quantization": settings(recipe, chosen)} if chosen else {})


def check_finite(read: bytes, tensor: Tensor, name: str) -> None:
    """Raise Gemma4Error if what was read of a tensor holds NaN or infinity."""
    if not is_finite(read, tensor.dtype):
        raise impossible(f"{name} holds NaN or infinity.", "Download the model again.")


def impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("convert_impossible", "The model cannot be converted", cause, remedy)
