"""Adapters on the disk: low-rank changes of a model's matrices, in the checkpoint's own order.

W becomes W + scale (A B)^T, with A (inputs, rank) and B (rank, outputs); DoRA (https://arxiv.org/
abs/2402.09353) then scales every row to a length m that is learned. One folder serves mlx-lm,
mlx-vlm and this library: adapters.safetensors with the names of the module tree, beside
adapter_config.json. PEFT's form, adapter_model.safetensors, is read and written too. What the
one-row layout moves (`permute.py`) is moved when an adapter is attached, never on the disk.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import mlx.core as mx
import numpy as np

from ..errors import Gemma4Error
from ..json_reader import Section, read_object
from ..model.config import Config, TextConfig
from ..model.one_row import full_layers
from .files import ADAPTER_SETTINGS as ADAPTER_SETTINGS
from .permute import moved_columns, moved_rows
from .safetensors import read_header
from .shapes import shapes

Kind = Literal["lora", "dora"]

WEIGHTS, PEFT_WEIGHTS = "adapters.safetensors", "adapter_model.safetensors"
_PEFT = re.compile(r"base_model\.model\.(?:model\.)?(.+)\.lora_(A|B|magnitude_vector)(?:\.weight)?")
_DECODER = "language_model.model."
_BUILT: Mapping[str, tuple[Any, ...]] = {  # what PEFT's settings may be; others change the sum
    "peft_type": ("LORA",),
    "bias": (None, "none"),
    "rank_pattern": (None,),
    "alpha_pattern": (None,),
    "modules_to_save": (None,),
    "lora_bias": (None,),
    "layer_replication": (None,),
    "init_lora_weights": (None, True, "gaussian", "eva", "orthogonal"),
}


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter as it is on the disk.

    Attributes:
        tensors: by module path and leaf, as "...q_proj.lora_a" (inputs, rank), ".lora_b" (rank,
            outputs) and, of DoRA, ".m" (outputs,).
        scale: what the product of both is multiplied by; PEFT's alpha / rank.
        facts: what else is known of it: what it was trained on, and how.
    """

    tensors: Mapping[str, mx.array]
    rank: int
    scale: float
    kind: Kind = "lora"
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """The modules that it changes."""
        return sorted({name.rpartition(".")[0] for name in self.tensors})

    @property
    def digest(self) -> str:
        """A name for what it changes, whatever its `facts`: 16 hex digits."""
        found = sha256(repr((self.rank, self.scale, self.kind)).encode())
        for name, tensor in sorted(self.tensors.items()):
            found.update(name.encode() + np.array(tensor.astype(mx.float32)).tobytes())
        return found.hexdigest()[:16]

    def merged(self, path: str, weight: mx.array, start: int = 0) -> mx.array:
        """The weight (outputs, inputs) of a module with the change, float32.

        `weight` is all its rows, or some from the row `start` on.
        """
        rows = slice(start, start + len(weight))
        a, b = (self.tensors[f"{path}.{leaf}"].astype(mx.float32) for leaf in ("lora_a", "lora_b"))
        weight = weight.astype(mx.float32) + self.scale * (a @ b[:, rows]).T
        if self.kind == "lora":
            return weight
        length = mx.linalg.norm(weight, axis=1)
        return (self.tensors[f"{path}.m"][rows].astype(mx.float32) / length)[:, None] * weight


def read(folder: Path | str) -> Adapter:
    """Read a folder in this library's, mlx-lm's, mlx-vlm's or PEFT's form.

    Raises Gemma4Error where it is not there, is no adapter, or holds what is not built here.
    """
    folder = Path(folder)
    settings = read_object(folder / ADAPTER_SETTINGS) if folder.is_dir() else None
    if settings is None:
        raise unusable(
            f"{folder} {'has no ' + ADAPTER_SETTINGS if folder.is_dir() else 'is no folder'}.",
            "Name the folder that `gemma4 tune -o` wrote.",
        )
    section = Section(settings, str(folder / ADAPTER_SETTINGS))
    try:
        adapter = _peft(folder, section) if "peft_type" in settings else _own(folder, section)
    except Gemma4Error as error:
        if error.code == "adapter_unusable":
            raise
        raise unusable(error.cause) from error
    _check_whole(adapter, folder)
    return adapter


def write(adapter: Adapter, folder: Path) -> None:
    """Write the folder that this library, mlx-vlm and mlx-lm read."""
    parameters = {
        "rank": adapter.rank,
        "dropout": 0.0,
        "scale": adapter.scale,
        "keys": adapter.paths,
    }
    settings = {
        "fine_tune_type": adapter.kind,
        "num_layers": -1,  # mlx-lm: the layers are those of the keys
        "lora_parameters": parameters,
        "mlx_gemma4": dict(adapter.facts),
    }
    _write(folder, WEIGHTS, adapter.tensors, settings)


def write_peft(adapter: Adapter, folder: Path, base: str) -> None:
    """Write the folder that PEFT reads for transformers' Gemma 4; `base` is the model's name."""
    tensors = {}
    for name, tensor in adapter.tensors.items():
        path, _, leaf = name.rpartition(".")
        suffix = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}.get(leaf)
        suffix = suffix or "lora_magnitude_vector.weight"
        value = mx.contiguous(tensor.T) if leaf != "m" else tensor
        tensors[f"base_model.model.model.{_in_transformers(path)}.{suffix}"] = value
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.scale * adapter.rank,
        "lora_dropout": 0.0,
        "use_dora": adapter.kind == "dora",
        "bias": "none",
        "target_modules": list(map(_in_transformers, adapter.paths)),
        "inference_mode": True,
    }
    _write(folder, PEFT_WEIGHTS, tensors, settings)


def check_fits(adapter: Adapter, config: Config) -> None:
    """Raise Gemma4Error where a tensor does not fit the model: it was trained on another one."""
    known = shapes(config)
    strange = [path for path in adapter.paths if len(known.get(f"{path}.weight", ())) != 2]
    if strange:
        raise unusable(
            f"It changes {strange[0]}{_more(strange)}, which this model has not.",
            "Use it with the model that it was trained on.",
        )
    for path in adapter.paths:
        outputs, inputs = known[f"{path}.weight"]
        wanted = {"lora_a": (inputs, adapter.rank), "lora_b": (adapter.rank, outputs)}
        for leaf, shape in (wanted | {"m": (outputs,)}).items():
            tensor = adapter.tensors.get(f"{path}.{leaf}")
            if tensor is not None and tensor.shape != shape:
                raise unusable(
                    f"{path}.{leaf} is {tensor.shape}, and {shape} is what this model and a rank "
                    f"of {adapter.rank} have.",
                    "Use it with the model that it was trained on.",
                )


def permuted(
    tensors: Mapping[str, mx.array], config: TextConfig, back: bool = False
) -> dict[str, mx.array]:
    """Move an adapter's dims as `permute` moves those of the weights, or back.

    Rows of a weight are columns of B, and entries of m; columns of a weight are rows of A.
    """
    result = dict(tensors)
    rows, columns = moved_rows(config), moved_columns(config)
    for prefix in full_layers(config):
        for name in (name for name in tensors if name.startswith(prefix)):
            module, leaf = name.removeprefix(prefix).split(".")
            if module in rows and leaf in ("lora_b", "m"):
                index = rows[module]
            elif module == "o_proj" and leaf == "lora_a":
                index = columns
            else:
                continue
            taken = mx.array(np.argsort(index) if back else index)
            result[name] = tensors[name][taken] if leaf != "lora_b" else tensors[name][:, taken]
    return result


def unusable(cause: str, remedy: str = "Train or download the adapter again.") -> Gemma4Error:
    return Gemma4Error("adapter_unusable", "The adapter cannot be used", cause, remedy)


def _own(folder: Path, settings: Section) -> Adapter:
    """Read what we, mlx-lm and mlx-vlm write; mlx-vlm once had A, B and alpha without sections."""
    kind = settings.get("fine_tune_type", str, "lora")
    if kind not in ("lora", "dora"):
        raise unusable(
            f"Its fine_tune_type is {kind!r}, and lora and dora are built here.",
            "Merge it into its model with the program that made it.",
        )
    if parameters := settings.section("lora_parameters"):
        rank, scale = parameters.size("rank"), parameters.number("scale")
    else:
        rank = settings.size("rank")
        scale = settings.number("alpha") / rank
    leaves = {"A": "lora_a", "B": "lora_b"}
    tensors = {}
    for name, tensor in _load(folder / WEIGHTS).items():
        path, _, leaf = name.rpartition(".")
        tensors[f"{_in_module_tree(path)}.{leaves.get(leaf, leaf)}"] = tensor
    facts = settings.get("mlx_gemma4", dict, {})
    return Adapter(tensors, rank, scale, cast(Kind, kind), facts)


def _peft(folder: Path, settings: Section) -> Adapter:
    for key, allowed in _BUILT.items():
        if (value := settings.data.get(key) or None) not in allowed:
            raise unusable(
                f"Its {key} is {value!r}, which is not built here.", "Merge it with PEFT."
            )
    rank, alpha = settings.size("r"), settings.number("lora_alpha")
    scale = alpha / math.sqrt(rank) if settings.get("use_rslora", bool, False) else alpha / rank
    tensors = {}
    for name, tensor in _load(folder / PEFT_WEIGHTS).items():
        found = _PEFT.fullmatch(name)
        if found is None:
            raise unusable(f"{name} is no tensor of a LoRA.", "Merge it with PEFT.")
        leaf = {"A": "lora_a", "B": "lora_b"}.get(found[2], "m")
        tensors[f"{_in_module_tree(found[1])}.{leaf}"] = tensor if leaf == "m" else tensor.T
    kind: Kind = "dora" if settings.get("use_dora", bool, False) else "lora"
    facts = {"base": settings.data.get("base_model_name_or_path")}
    return Adapter(tensors, rank, scale, kind, facts)


def _load(path: Path) -> dict[str, mx.array]:
    if not path.is_file():
        raise unusable(f"There is no {path}.")
    read_header(path)  # refuse what is not whole, before MLX reads beyond its end
    try:
        return cast(dict[str, mx.array], mx.load(str(path)))
    except (RuntimeError, ValueError, OSError) as error:
        raise unusable(f"{path} cannot be read ({error}).", "Copy it again.") from error


def _check_whole(adapter: Adapter, folder: Path) -> None:
    """Check that modules have their tensors, of the rank in the settings, and all are finite."""
    leaves = {"lora_a", "lora_b", *(["m"] if adapter.kind == "dora" else [])}
    if not adapter.tensors:
        raise unusable(f"{folder} holds no tensors.")
    for path in adapter.paths:
        own = {name.rpartition(".")[2] for name in adapter.tensors if name.startswith(f"{path}.")}
        if own != leaves:
            raise unusable(
                f"{path} has {', '.join(sorted(own))} where {', '.join(sorted(leaves))} belong."
            )
        a, b = (adapter.tensors[f"{path}.{leaf}"].shape for leaf in ("lora_a", "lora_b"))
        if len(a) != 2 or len(b) != 2 or a[1] != adapter.rank or b[0] != adapter.rank:
            raise unusable(
                f"{path} has shapes {a} and {b}, which is not the rank of {adapter.rank} in "
                f"{ADAPTER_SETTINGS}.",
                "Use the settings that belong to these weights.",
            )
    finite = {name: mx.isfinite(tensor).all() for name, tensor in adapter.tensors.items()}
    mx.eval(finite)
    if bad := [name for name, flag in finite.items() if not flag.item()]:
        raise unusable(f"{bad[0]}{_more(bad)} holds NaN or infinity.", "Train it again.")


def _write(
    folder: Path, name: str, tensors: Mapping[str, mx.array], settings: Mapping[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f"part-{name}"
    with making.open("wb") as file:  # Python's own: MLX reports a full disk without its reason
        mx.save_safetensors(file, dict(tensors), metadata={"format": "pt"})
    making.replace(folder / name)
    (folder / ADAPTER_SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _in_transformers(path: str) -> str:
    """A module's path in transformers, below its `model`."""
    if path.startswith("vision_embedder."):
        return f"embed_vision.{path.removeprefix('vision_embedder.')}"
    path = path.replace("embed_vision.", "embed_vision.multimodal_embedder.", 1)
    return path.replace(_DECODER, "language_model.", 1)


def _in_module_tree(path: str) -> str:
    """A module's path here; programs for text alone start at the decoder, or at its layers."""
    path = re.sub(r"^(model\.)?layers\.", f"{_DECODER}layers.", path)
    path = path.replace("language_model.", _DECODER, 1) if _DECODER not in path else path
    path = path.replace("embed_vision.multimodal_embedder.", "embed_vision.")
    return re.sub(r"^embed_vision\.(patch_|pos_)", r"vision_embedder.\1", path)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
