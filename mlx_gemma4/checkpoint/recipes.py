"""Recipes for fewer bits, as data: how each matrix is stored, and what that weighs.

Knows shapes and names, and neither tensors nor MLX. Only the decoder's matrices and its embedding
table are quantized. The embedders of pictures and sound stay as they are: they are small, and all
that is seen and heard goes through them once. At 4 bits the embedding table, which is also the
output head, and the full layers' k_proj, which makes keys and values at once, lose most: they get
more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from ..errors import Gemma4Error
from ..model.config import FULL, TextConfig
from ..model.one_row import applies, keeps_groups
from .safetensors import Tensor

Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]

# What MLX can store: bits and group sizes of each mode, the largest group first.
_STORED: Mapping[Mode, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((2, 3, 4, 5, 6, 8), (128, 64, 32)),
    "mxfp4": ((4,), (32,)),
    "mxfp8": ((8,), (32,)),
    "nvfp4": ((4,), (16,)),
}


@dataclass(frozen=True)
class Storage:
    """How a matrix is stored: the keys of `quantization` in an MLX folder's config.json.

    Attributes:
        group_size: weights of a row that share a scale (and, if affine, a bias).
        mode: "affine" is q * scale + bias; the others are floating-point formats of `mx.quantize`.
    """

    group_size: int
    bits: int
    mode: Mode = "affine"

    def tensors(self, path: str, weight: Tensor) -> dict[str, Tensor]:
        """Name the tensors that a matrix (rows, columns) becomes, in the order they are written."""
        rows, columns = weight.shape
        groups = (rows, columns // self.group_size)
        packed = {f"{path}.weight": Tensor("U32", (rows, columns * self.bits // 32))}
        if self.mode != "affine":
            return {**packed, f"{path}.scales": Tensor("U8", groups)}
        scale = Tensor(weight.dtype, groups)
        return {**packed, f"{path}.scales": scale, f"{path}.biases": scale}


@dataclass(frozen=True)
class Recipe:
    """What to do with the matrices of the decoder; None leaves them as they are.

    Attributes:
        matrices: all that the next two do not name.
        embedding: the embedding table; as `matrices` where None.
        full_keys: k_proj of the full layers; as `matrices` where None.
        grid: take scales from the q4_0 grid that the weights were trained on (`encode.on_grid`),
            not from each group's smallest and largest weight.
        own: by module path, matrices that are stored otherwise.
    """

    matrices: Storage | None
    embedding: Storage | None = None
    full_keys: Storage | None = None
    grid: bool = False
    own: Mapping[str, Storage] = field(default_factory=dict)


_EMBEDDING, _FULL_KEYS = Storage(64, 6), Storage(64, 8)

RECIPES: Mapping[str, Recipe] = {
    "4bit": Recipe(Storage(64, 4), _EMBEDDING, _FULL_KEYS),
    "4bit-small": Recipe(Storage(64, 4)),
    # With 6 bits the grid of 4 is met exactly, and a table that is not on it loses little.
    "qat-4bit": Recipe(Storage(32, 4), Storage(32, 6), Storage(32, 6), grid=True),
    "5bit": Recipe(Storage(64, 5)),
    "6bit": Recipe(Storage(64, 6)),
    "8bit": Recipe(Storage(64, 8)),
    "mxfp4": Recipe(Storage(32, 4, "mxfp4"), _EMBEDDING, _FULL_KEYS),
    "nvfp4": Recipe(Storage(16, 4, "nvfp4"), _EMBEDDING, _FULL_KEYS),
    "bf16": Recipe(None),
}
DEFAULT = "4bit"


def uniform(bits: int | None, group_size: int | None, mode: str = "affine") -> Recipe:
    """Make a recipe that stores every matrix alike; None means MLX's own default of the mode.

    Raises Gemma4Error where MLX has no such storage.
    """
    known = next((name for name in _STORED if name == mode), None)
    if known is None:
        raise Gemma4Error(
            "quantization_unknown",
            f"There is no mode {mode}",
            "MLX has none.",
            f"Choose {_either(_STORED)}.",
        )
    all_bits, groups = _STORED[known]
    usual = (64, 4) if known == "affine" else (groups[0], all_bits[0])
    storage = Storage(group_size or usual[0], bits or usual[1], known)
    if storage.bits not in all_bits or storage.group_size not in groups:
        raise Gemma4Error(
            "quantization_unknown",
            "There is no such quantization",
            f"{storage.bits} bits in groups of {storage.group_size} is not in MLX's {mode} mode.",
            f"It has {_either(all_bits)} bits and groups of {_either(groups)}.",
        )
    return Recipe(storage)


def named(name: str) -> Recipe:
    """Find a recipe of the table. Raises Gemma4Error where there is none of this name."""
    if name not in RECIPES:
        raise Gemma4Error(
            "recipe_unknown",
            f"There is no recipe {name}",
            "It is not in the table.",
            f"Choose {_either(RECIPES)}.",
        )
    return RECIPES[name]


def storage_of(
    recipe: Recipe, config: TextConfig, path: str, shape: tuple[int, ...]
) -> Storage | None:
    """Return how the weight of this shape and module is stored; None leaves it as it is.

    Groups get smaller where a row is not a multiple of them, or where they would not stay whole
    in the one-row layout. `path` is that of the module tree, as
    "language_model.model.layers.5.self_attn.o_proj".
    """
    if len(shape) != 2 or not path.startswith("language_model."):
        return None
    storage = recipe.matrices
    if path in recipe.own:
        storage = recipe.own[path]
    elif path.endswith(".embed_tokens"):
        storage = recipe.embedding or storage
    elif path.endswith(".k_proj") and _is_full(config, path):
        storage = recipe.full_keys or storage
    if storage is None:
        return None
    groups = _STORED[storage.mode][1]
    fit = [s for s in groups if s <= storage.group_size and shape[1] % s == 0]
    whole = [size for size in fit if moves_whole_groups(config, path, size)]
    return replace(storage, group_size=(whole or fit)[0]) if fit else None


def moves_whole_groups(config: TextConfig, path: str, group_size: int) -> bool:
    """Whether a module's groups stay whole in the one-row layout: a full layer's o_proj moves."""
    moves = path.endswith(".o_proj") and _is_full(config, path) and applies(config)
    return not moves or keeps_groups(config, group_size)


def _is_full(config: TextConfig, path: str) -> bool:
    # language_model.model.layers.N.self_attn.o_proj
    return config.layer_types[int(path.split(".")[3])] == FULL


def settings(recipe: Recipe, chosen: Mapping[str, Storage]) -> dict[str, object]:
    """Make `quantization` of config.json: the rule, and each module that differs from it.

    `chosen` is what `storage_of` returned, by module path.
    """
    rule = recipe.matrices or next(iter(chosen.values()))
    others = {path: asdict(own) for path, own in chosen.items() if own != rule}
    return {**asdict(rule), **others}


def _either(values: Iterable[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last
