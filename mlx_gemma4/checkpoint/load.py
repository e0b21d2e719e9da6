"""Checkpoint folders <-> the module tree: names, strict loading, saving.

Four spellings of the same tensors are read, and one is written:
  published       model.language_model.layers..., model.vision_embedder..., model.embed_vision...
  transformers    the same, with the vision embedder under model.embed_vision (>= 5.23, in memory)
  mlx-vlm         language_model.model.layers..., vision_embedder...; .scales, .biases; written here
  mlx-lm          as mlx-vlm, without vision and audio: loads text-only, with a warning
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from ..model import metal, one_row
from ..model.config import Config, load_config, unknown_setting
from ..model.drafter import Drafter
from ..model.drafter_config import DrafterConfig
from ..model.gemma4 import Gemma4
from ..model.text import Layout
from .cpu_projections import by_column, second_stream, use_fast_projections
from .files import INDEX, weight_files, weight_map, weights_unusable
from .permute import permute
from .safetensors import Tensor, read_header

_RENAMES = (
    (re.compile(r"^model\."), ""),
    (re.compile(r"^language_model\.(?!model\.|lm_head\.)"), "language_model.model."),
    (re.compile(r"^embed_vision\.multimodal_embedder\."), "embed_vision."),
    (re.compile(r"^embed_vision\.(patch_|pos_)"), r"vision_embedder.\1"),
)
AT_ONCE = 32_000_000  # bytes of tensors that are read and converted side by side
# The output head is the embedding table again (tied), and rope tables are computed.
DERIVED = re.compile(r"(^|\.)lm_head\.|rotary_emb\.")
_MEDIA = {
    "vision_config": ("pictures", ("vision_embedder.", "embed_vision.")),
    "audio_config": ("sound", ("embed_audio.",)),
}


def sanitize(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Any spelling of the tensor names -> the module tree's. Applying it again changes nothing."""
    result: dict[str, Any] = {}
    for name, value in weights.items():
        if DERIVED.search(name):
            continue
        new = _rename(name)
        if new in result:
            raise weights_unusable(
                f"two tensors are both {new}.", "Keep one set of weights in the folder."
            )
        result[new] = value
    return result


def load_folder(
    folder: Path | str,
    dtype: mx.Dtype | None = None,
    layout: Layout = "one_row",
    check: Callable[[Config, dict[str, Tensor]], None] | None = None,
) -> Gemma4:
    """Read a model folder strictly: every tensor is used, none is missing, all shapes agree.

    Args:
        folder: config.json with model.safetensors, or with shards and their index.
        dtype: of the activations and of weights that are not quantized. None keeps the
            checkpoint's, but takes float32 on the CPU, where bfloat16 is 10 to 60 times slower.
        layout: see `Gemma4`. "plain" is also taken where a quantized checkpoint's groups cross
            the borders of the rotated dims.
        check: called with the config and every tensor's type and shape before anything is read;
            what it raises is raised.

    Raises:
        Gemma4Error: the folder, its config or its tensors cannot be used, and why.
    """
    config, weights = read_folder(folder)
    if not one_row.applies(config.text_config, {n: t.shape for n, t in weights.items()}):
        layout = "plain"
    model = Gemma4(config, layout)
    fill(model, weights, str(folder), dtype, check)
    return model


def read_folder(folder: Path | str) -> tuple[Config, dict[str, mx.array]]:
    """A folder's settings, and its tensors by the module tree's names; none is read yet.

    Raises Gemma4Error where the folder or its config cannot be used.
    """
    folder = Path(folder)
    config = load_config(folder)
    weights = sanitize(read_weights(folder))
    return _without_lost_media(config, weights, folder), weights


def fill(
    model: Gemma4,
    weights: dict[str, mx.array],
    place: str,
    dtype: mx.Dtype | None = None,
    check: Callable[[Config, dict[str, Tensor]], None] | None = None,
) -> None:
    """Load tensors into a new model, quantized as in its config; `weights` is empty afterwards.

    `model` is that of the tensors' config, whole or with some of its layers, and `place` is where
    the tensors are from, for errors. Raises Gemma4Error where they are not the model's.
    """
    metal.limit_freed_buffers()
    config = model.config
    quantize_like(model, weights, _rename)
    check_tensors(model, weights, place)
    if check is not None:
        check(config, _headers(weights))
    held = permute(weights, config.text_config) if model.layout == "one_row" else dict(weights)
    weights.clear()  # whoever keeps what is converted holds it twice
    hold(model, held, dtype)


def hold(model: Gemma4 | Drafter, held: dict[str, mx.array], dtype: mx.Dtype | None) -> None:
    """Read tensors that fit the model and are in its order, and load them into it."""
    on_cpu = mx.default_device() == mx.cpu
    _convert(held, mx.float32 if dtype is None and on_cpu else dtype, on_cpu)
    model.load_weights(list(held.items()), strict=True)
    if on_cpu:
        use_fast_projections(model)


_DTYPES = ("float32", "bfloat16", "float16")


def as_dtype(dtype: mx.Dtype | str | None) -> mx.Dtype | None:
    """MLX's type of a name. Raises Gemma4Error where models are not computed in this type."""
    if dtype is None or dtype in [getattr(mx, name) for name in _DTYPES]:
        return cast(mx.Dtype | None, dtype)
    if dtype in _DTYPES:
        return cast(mx.Dtype, getattr(mx, str(dtype)))
    raise unknown_setting("dtype", dtype, ", ".join(_DTYPES))


def save_folder(model: Gemma4, folder: Path | str) -> None:
    """Write a folder that `load_folder` and mlx-vlm 0.7.10 read: weights, config and defaults.

    Heads are written in the published order, whatever the layout, so that loading makes the same
    model. Tokenizer and processor files are the caller's to copy.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    weights = model.tensors()
    if model.layout == "one_row":
        weights = permute(weights, config.text_config, back=True)
    with (folder / "model.safetensors").open("wb") as file:  # not MLX: it hides the reason
        mx.save_safetensors(file, weights, metadata={"format": "mlx"})
    written = with_sizes(config)
    written |= {key: None for key in _MEDIA if getattr(config, key) is None}
    written |= {"quantization": config.quantization} if config.quantization else {}
    generation = {
        "eos_token_id": list(config.eos_token_ids),
        "suppress_tokens": list(config.suppress_tokens),
        "do_sample": config.temperature > 0,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
    }
    for name, content in (("config.json", written), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def with_sizes(config: Config | DrafterConfig) -> dict[str, Any]:
    """A config as it was read, with two sizes under the only names that mlx-vlm reads."""
    text = config.text_config
    sizes = {
        "global_head_dim": text.global_head_dim,
        "num_global_key_value_heads": text.num_global_key_value_heads,
    }
    return {**config.raw, "text_config": {**config.raw["text_config"], **sizes}}


def _convert(weights: dict[str, mx.array], dtype: mx.Dtype | None, on_cpu: bool) -> None:
    """Read every tensor, in place, as `dtype` where it is not quantized."""
    waiting: list[mx.array] = []
    finite: dict[str, mx.array] = {}
    largest_first = sorted(weights, key=lambda name: -weights[name].nbytes)  # less is held twice
    for number, name in enumerate(largest_first):
        value = weights[name]
        with mx.stream(second_stream() if on_cpu and number % 2 else mx.default_device()):
            if mx.issubdtype(value.dtype, mx.floating):
                value = value if dtype is None else value.astype(dtype)
                finite[name] = mx.isfinite(value).all()
                if on_cpu and name.endswith(".weight"):
                    value = by_column(value)
        weights[name] = value
        waiting.append(value)
        if sum(array.nbytes for array in waiting) > AT_ONCE:
            _read_now(waiting, finite)
    _read_now(waiting, finite)


def _read_now(waiting: list[mx.array], finite: dict[str, mx.array]) -> None:
    """Evaluate tensors, and refuse those that hold NaN or infinity."""
    mx.eval(waiting, finite)
    if bad := [name for name, flag in finite.items() if not flag.item()]:
        raise weights_unusable(f"{len(bad)} tensors hold NaN or infinity ({_some(bad)}).")
    waiting.clear()
    finite.clear()


def _rename(name: str) -> str:
    for pattern, new in _RENAMES:
        name = pattern.sub(new, name)
    return name


def read_weights(folder: Path) -> dict[str, mx.array]:
    """All tensors of a folder's safetensors files, lazily."""
    weights: dict[str, mx.array] = {}
    for path in weight_files(folder).values():
        read_header(path)  # refuse what is not whole, before MLX reads beyond its end
        try:
            found = cast(dict[str, mx.array], mx.load(str(path)))
        except (RuntimeError, ValueError, OSError) as error:
            raise weights_unusable(f"{path} cannot be read ({error}).") from error
        if twice := sorted(set(found) & set(weights)):
            raise weights_unusable(f"{path} holds {_some(twice)}, as another file does.")
        weights.update(found)
    if lost := sorted(set(weight_map(folder)) - set(weights)):
        raise weights_unusable(f"the shards lack {_some(lost)}, which {INDEX} lists.")
    return weights


def _without_lost_media(config: Config, weights: Mapping[str, mx.array], folder: Path) -> Config:
    """Turn off media that the folder has no tensor of at all; warn unless its config has null.

    mlx-lm's converter drops the tensors, and vision_config but not audio_config.
    """
    lost = [
        key
        for key, (_, prefixes) in _MEDIA.items()
        if config.raw.get(key, ...) is not None and not any(n.startswith(prefixes) for n in weights)
    ]
    if lost:
        media = " and ".join(_MEDIA[key][0] for key in lost)
        warnings.warn(
            f"{folder} has no weights for {media}: it loads without them. mlx-lm's converter drops "
            "them; convert the original checkpoint with `gemma4 convert` to have all.",
            stacklevel=3,
        )
    changes: dict[str, Any] = dict.fromkeys(lost)
    return replace(config, **changes)


def quantize_like(
    model: Gemma4 | Drafter, weights: Mapping[str, mx.array], rename: Callable[[str], str] = str
) -> None:
    """Quantize each module that has scales among the `weights` as in the config.

    `rename` makes a path of the config one in the module tree.
    """
    settings = model.config.quantization or {}
    overrides = {rename(path): value for path, value in settings.items()}
    default = {key: settings[key] for key in ("group_size", "bits", "mode") if key in settings}

    def chosen(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if f"{path}.scales" not in weights or not hasattr(module, "to_quantized"):
            return False
        if not default:
            raise weights_unusable(
                f"{path} is quantized, and config.json has no quantization settings."
            )
        override = overrides.get(path)
        return {**default, **override} if isinstance(override, dict) else default

    try:
        nn.quantize(model, class_predicate=chosen)
    except (TypeError, ValueError) as error:  # TypeError: a setting that MLX has not
        raise weights_unusable(f"its quantization settings do not fit ({error}).") from error


def check_tensors(model: Gemma4 | Drafter, weights: Mapping[str, mx.array], place: str) -> None:
    """Check that all tensors are used and none is missing, and that shapes and types fit."""
    expected = model.tensors()
    both = sorted(set(expected) & set(weights))
    found = {
        "tensors are missing": sorted(set(expected) - set(weights)),
        "tensors are unknown": sorted(set(weights) - set(expected)),
        "have another shape": [
            f"{name} is {weights[name].shape} and should be {expected[name].shape}"
            for name in both
            if weights[name].shape != expected[name].shape
        ],
        "have another type": [
            f"{name} is {weights[name].dtype} and should be {_kind(expected[name].dtype)}"
            for name in both
            if _kind(weights[name].dtype) != _kind(expected[name].dtype)
        ],
    }
    problems = [f"{len(names)} {what} ({_some(names)})" for what, names in found.items() if names]
    if problems:
        raise weights_unusable(f"in {place}, {'; '.join(problems)}.")


def _kind(dtype: mx.Dtype) -> str:
    """The name of a type, for errors; types of weights are interchangeable, and share one."""
    if dtype in (mx.bfloat16, mx.float16, mx.float32):
        return "bfloat16, float16 or float32"
    return str(dtype)


def _headers(weights: Mapping[str, mx.array]) -> dict[str, Tensor]:
    """Tensors by type and shape alone; types of one size count as one."""

    def kind(dtype: mx.Dtype) -> str:
        return f"{'F' if mx.issubdtype(dtype, mx.floating) else 'U'}{8 * dtype.size}"

    return {name: Tensor(kind(value.dtype), value.shape) for name, value in weights.items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
