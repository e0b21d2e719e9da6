"""`gemma4 selftest --record`: has transformers compute the reference numbers of a model.

It needs torch and transformers, and memory for the unquantized weights: 24 GB in bfloat16 for the
12B. Models below 1 GB are computed in float32.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np

from ...chat.tokenizer import Tokenizer
from ...checkpoint.files import weight_files
from ...errors import Gemma4Error
from ...model.config import Config, load_config
from .answers import KNOWN
from .parity import CaseMedia, known_prompt
from .random_checkpoint import published
from .reference import Reference, digest, likeliest

SMALL = 10**9  # bytes of weights


def record(folder: Path) -> Reference:
    """Compute the known questions, each with its right answer, under transformers' own mask rule.

    Raises:
        Gemma4Error: the weights are quantized, or torch or transformers is not installed.
    """
    config, tokenizer = load_config(folder), Tokenizer.from_folder(folder)
    if config.quantization is not None:
        raise Gemma4Error(
            "already_quantized",
            "The model is quantized already",
            f"transformers reads published weights, and {folder.name} is stored in fewer bits.",
            "Name the unquantized model: --model google/gemma-4-12B-it.",
        )
    try:
        torch, transformers = map(import_module, ("torch", "transformers"))
    except ImportError as error:
        raise Gemma4Error(
            "recorder_missing",
            "No reference can be recorded",
            f"{error}.",
            "Install what computes it: pip install torch transformers.",
        ) from error
    size = sum(file.stat().st_size for file in weight_files(folder).values())
    dtype = torch.float32 if size < SMALL else torch.bfloat16
    with _published(folder) as place, torch.inference_mode():
        model = transformers.AutoModelForImageTextToText.from_pretrained(place, dtype=dtype)
        model.eval()
        cases = []
        for name in KNOWN:
            ids, media = known_prompt(config, tokenizer, name)
            logits = model(**_inputs(torch, config, ids, media, dtype)).logits[0]
            cases.append(likeliest(name, np.array(ids), logits.float().numpy()))
    by = f"transformers {transformers.__version__}, torch {torch.__version__}, {dtype}"
    return Reference(by.replace("torch.", ""), digest(folder), "forward", tuple(cases))


def _inputs(
    torch: Any, config: Config, ids: list[int], media: CaseMedia, dtype: Any
) -> dict[str, Any]:
    kinds = np.zeros(len(ids), np.int64)
    kinds[np.array(ids) == config.image_token_id] = 1
    kinds[np.array(ids) == config.audio_token_id] = 3
    given = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones((1, len(ids)), dtype=torch.int64),
        "mm_token_type_ids": torch.tensor(kinds[None]),
    }
    if media["images"]:
        ((patches, positions),) = media["images"]
        levels = np.asarray(patches, np.float32) / np.float32(255)
        given["pixel_values"] = torch.tensor(levels[None]).to(dtype)
        given["image_position_ids"] = torch.tensor(np.asarray(positions, np.int64)[None])
    if media["audio"]:
        (frames,) = media["audio"]
        given["input_features"] = torch.tensor(np.asarray(frames, np.float32)[None]).to(dtype)
        given["input_features_mask"] = torch.ones((1, len(frames)), dtype=torch.bool)
    return given


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """A folder with transformers' names of tensors: this one, or a copy of one that we wrote."""
    weights: dict[str, mx.array] = {}
    for file in weight_files(folder).values():
        weights |= cast(dict[str, mx.array], mx.load(str(file)))
    if not any(name.startswith("language_model.model.") for name in weights):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        for file in folder.glob("[!.]*.json"):
            if not file.name.endswith(".index.json"):
                shutil.copy(file, place)
        renamed = {published(name): tensor for name, tensor in weights.items()}
        mx.save_safetensors(str(Path(place) / "model.safetensors"), renamed, {"format": "pt"})
        yield Path(place)
