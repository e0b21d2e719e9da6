"""Store transformers' gradients on a conversation with picture, sound and text.

    python -m tests.oracle.gradients OUT    (OUT is tests/oracle/gradients.npz; needs torch and
                                             transformers 5.23.0)

The loss is the cross entropy, summed, of all ids after the sound. Of each tensor's gradient there
are its length and its products with PRODUCTS random directions: from the differences of two
tensors' products follows the length of their difference, within a quarter or so.
"""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from mlx_gemma4.cli.selftest.random_checkpoint import (
    MEDIA,
    clip,
    picture,
    uniform,
    write_checkpoint,
)

CASE, PRODUCTS = "image_audio", 8
RANK, SCALE = 4, 2.0
LEARNED = 20  # ids at the end
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def products(gradient: np.ndarray) -> np.ndarray:
    """(PRODUCTS + 1,) float64: the length, then the products."""
    flat = gradient.astype(np.float64).ravel()
    return np.concatenate([[np.linalg.norm(flat)], _directions(gradient.shape) @ flat])


@cache
def _directions(shape: tuple[int, ...]) -> np.ndarray:
    return uniform(f"direction:{shape}", (PRODUCTS, int(np.prod(shape))))


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The length of a difference over that of the second, from what `products` returns.

    A number of a direction has the variance 1/3.
    """
    return float(np.sqrt(3 * np.mean((ours[1:] - theirs[1:]) ** 2)) / theirs[0])


def lora_matrices(path: str, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """A (inputs, RANK) and B (RANK, outputs) of a module by its path in the module tree."""
    a = uniform(f"{path}.lora_a", (inputs, RANK)) / np.float32(np.sqrt(inputs))
    return a, uniform(f"{path}.lora_b", (RANK, outputs)) * np.float32(0.05)


def module_tree(name: str) -> str:
    """A parameter's name in transformers' memory -> in the module tree."""
    name = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    name = name.replace("embed_vision.multimodal_embedder.", "embed_vision.")
    for part in ("patch_", "pos_"):
        name = name.replace(f"embed_vision.{part}", f"vision_embedder.{part}")
    return name


def main(out: Path) -> None:
    """Compute and write."""
    import torch
    from transformers import Gemma4UnifiedForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        model = Gemma4UnifiedForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
    model.train(False)
    config = model.config
    ids = np.load(Path(__file__).parent / "cases" / f"{CASE}.npz")["input_ids"].astype(int)
    (image,), (sound,) = MEDIA[CASE].images, MEDIA[CASE].audio
    patches, positions = picture(*image)
    frames = clip(*sound)
    kinds = np.where(ids == config.image_token_id, 1, 0) + np.where(
        ids == config.audio_token_id, 3, 0
    )
    tensors = {
        "input_ids": torch.tensor(ids)[None],
        "pixel_values": torch.tensor(patches)[None],
        "image_position_ids": torch.tensor(positions)[None],
        "input_features": torch.tensor(frames)[None],
        "input_features_mask": torch.ones(1, len(frames), dtype=torch.bool),
    }
    types = torch.tensor(kinds)[None]

    def loss(rule: str) -> torch.Tensor:
        own = {"mm_token_type_ids": types}
        if rule == "official":
            places = torch.arange(len(ids))[None]
            masks = model.create_masks_for_generate(
                config, torch.empty(1, len(ids), 0), None, None, places, mm_token_type_ids=types
            )
            own = {"attention_mask": masks, "position_ids": places}
        logits = model(**tensors, **own).logits[0, -LEARNED - 1 : -1]
        targets = torch.tensor(ids[-LEARNED:])
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")

    stored: dict[str, np.ndarray] = {}
    for rule in ("official", "forward"):
        model.zero_grad()
        value = loss(rule)
        value.backward()
        stored[f"dense.{rule}.loss"] = np.array(value.item())
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                new = module_tree(name)
                stored[f"dense.{rule}.{new}"] = products(parameter.grad.numpy())

    model.requires_grad_(False)
    added = {}
    for name, module in model.named_modules():
        if ".layers." in name and name.split(".")[-1] in MATRICES:
            path = module_tree(name)
            a, b = lora_matrices(path, module.in_features, module.out_features)
            pair = [torch.tensor(one, requires_grad=True) for one in (a, b)]
            added[path] = pair
            module.register_forward_hook(
                lambda _module, given, result, pair=pair: (
                    result + SCALE * (given[0] @ pair[0]) @ pair[1]
                )
            )
    value = loss("official")
    value.backward()
    stored["lora.official.loss"] = np.array(value.item())
    for path, pair in added.items():
        for leaf, one in zip(("lora_a", "lora_b"), pair, strict=True):
            name = f"{path}.{leaf}"
            stored[f"lora.official.{name}"] = products(one.grad.numpy())
    np.savez_compressed(out, **stored)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
