"""One adapter, read by other programs: their logits beside ours on picture, sound and text.

    python -m tools.adapter_readers ours    OUT [--model tiny] [--kind lora|dora] [--embedders]
    python -m tools.adapter_readers mlx-lm  OUT    (text alone)
    python tools/adapter_readers.py mlx-vlm OUT    (with the Python of an environment with mlx-vlm)
    python tools/adapter_readers.py peft    OUT    (with torch, transformers and peft)

`ours` writes a random adapter in both forms, and case.npz: ids, media and the logits. The others
read that and print the largest difference and the share of rows whose likeliest token is the same.
mlx-vlm and PEFT also write an adapter of their own, `theirs-NAME`, and the names and shapes of its
tensors as NAME.json. mlx-vlm is asked twice: as it answers, with the tokens' kinds, from which it
makes the mask of a picture, and as it trains, without them, beside our logits with a causal mask.
`make adapter-readers` runs all four for LoRA and DoRA; status 1 where logits are farther apart
than LIMIT, or another token is the likeliest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

RANK, SCALE = 4, 2.0
LIMIT = {"mlx-lm": 1e-4, "mlx-vlm": 1e-4, "PEFT": 1e-3}


def ours(out: Path, options: argparse.Namespace) -> None:
    """Write a random adapter, and what the model computes with it."""
    import mlx.core as mx

    import mlx_gemma4
    from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, Turn
    from mlx_gemma4.chat.render import render
    from mlx_gemma4.chat.tokenizer import Tokenizer
    from mlx_gemma4.checkpoint import adapters
    from mlx_gemma4.checkpoint.load import load_folder
    from mlx_gemma4.hub import catalog
    from mlx_gemma4.media.audio import frames, read_sound
    from mlx_gemma4.media.images import patches
    from mlx_gemma4.model.inputs import Inputs
    from mlx_gemma4.tune import lora

    folder = Path(catalog.resolve(options.model))
    trained = load_folder(folder)
    lora.add(trained, RANK, SCALE, 0, options.kind, options.embedders)
    for name, value in lora.trained(trained).items():
        noise = mx.random.normal(value.shape, key=mx.random.key(len(name)))
        trained.load_weights([(name, value + 0.03 * noise)], strict=False)
    adapter = lora.adapter_of(trained, RANK, SCALE, options.kind, {"base": options.model})
    adapters.write(adapter, out / "own")
    adapters.write_peft(adapter, out / "peft", str(folder.resolve()))
    demo = catalog.shipped("assets/demo")
    picture = ImagePart(patches(demo / "receipt.png", 70))
    sound = SoundPart(frames(read_sound(demo / "question.wav").samples))
    kept: dict[str, Any] = {"folder": str(folder.resolve())}
    tokenizer = Tokenizer.from_folder(folder)
    for case, parts in (("text", ()), ("picture", (picture,)), ("both", (picture, sound))):
        prompt = render(
            [Turn("user", (*parts, TextPart("what is the total")))], tokenizer, trained.config
        )
        for name, own in (("base", None), ("logits", out / "own")):
            model = mlx_gemma4.load(folder, own, mask_rule="forward")
            inputs = model.embed(prompt.token_ids, prompt.images, (), prompt.audio)
            for mask, blocks in (("", inputs.blocks), (".causal", 0 * inputs.blocks)):
                seen = Inputs(inputs.embeddings, blocks)
                found = model.logits(model.hidden(seen, model.make_cache()))
                kept[f"{case}.{name}{mask}"] = np.array(found[0])
        kept[f"{case}.ids"] = np.array(prompt.token_ids)
        for pixels, places in prompt.images:
            kept |= {
                f"{case}.pixels": np.asarray(pixels) / np.float32(255),
                f"{case}.places": np.asarray(places),
            }
        if prompt.audio:
            kept[f"{case}.frames"] = np.concatenate(prompt.audio)
    config = trained.config
    kept["kinds"] = np.array([config.image_token_id, config.audio_token_id])
    np.savez(out / "case.npz", **kept)


def types(case: Any, ids: np.ndarray) -> np.ndarray:
    """1 for a picture's tokens, 3 for a sound's."""
    image, sound = case["kinds"]
    return np.where(ids == image, 1, 0) + np.where(ids == sound, 3, 0)


def compare(name: str, theirs: np.ndarray, wanted: np.ndarray, base: np.ndarray) -> bool:
    """Print how far two programs' logits are from each other; whether that is within the limit."""
    same, far = (theirs.argmax(-1) == wanted.argmax(-1)).mean(), np.abs(theirs - wanted).max()
    print(
        f"{name}: max |difference| {far:.1e}, same likeliest token {same:.3f}; "
        f"the adapter itself changes up to {np.abs(wanted - base).max():.1f}",
        flush=True,
    )
    return bool(far <= LIMIT[name.partition(",")[0]] and same == 1)


def widened(model: Any) -> Any:
    """A model of mlx-lm or mlx-vlm, in float32."""
    import mlx.core as mx
    from mlx.utils import tree_map

    wide = lambda x: x.astype(mx.float32) if mx.issubdtype(x.dtype, mx.floating) else x  # noqa: E731
    model.update(tree_map(wide, model.parameters()))
    return model


def in_mlx_lm(out: Path) -> bool:
    """Read the adapter in mlx-lm, which has text alone; whether its logits are ours."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model

    case = np.load(out / "case.npz")
    folder = Path(str(case["folder"]))
    text = json.loads((folder / "config.json").read_text())["text_config"]
    # what it expects in a configuration, and the tiny model's lacks
    size, none = {"vocab_size": text["vocab_size"]}, {"hidden_size_per_layer_input": 0}
    text |= none | {"vocab_size_per_layer_input": text["vocab_size"]}
    model, _ = load_model(folder, model_config={**size, "text_config": text})
    model = widened(load_adapters(model, str(out / "own")))
    found = np.array(model(mx.array(case["text.ids"])[None])[0])
    return compare("mlx-lm, text", found, case["text.logits"], case["text.base"])


def in_mlx_vlm(out: Path) -> bool:
    """Read the adapter in mlx-vlm; whether its logits are ours."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_vlm.trainer.peft import get_peft_model
    from mlx_vlm.trainer.peft.utils import apply_lora_layers, save_adapter
    from mlx_vlm.utils import load_model

    def loaded() -> Any:
        return widened(load_model(Path(str(case["folder"]))))

    case = np.load(out / "case.npz")
    model = apply_lora_layers(loaded(), out / "own")
    well = []
    for name in ("text", "picture", "both"):
        ids, own = case[f"{name}.ids"], {}
        if name != "text":
            own["pixel_values"] = mx.array(case[f"{name}.pixels"])[None]
            own["image_position_ids"] = mx.array(case[f"{name}.places"])[None]
        if name == "both":
            own["input_features"] = mx.array(case["both.frames"])[None]
            own["input_features_mask"] = mx.ones((1, len(case["both.frames"])), mx.bool_)
        embedded = model.get_input_embeddings(mx.array(ids)[None], **own).inputs_embeds
        kinds = mx.array(types(case, ids))[None]
        for mask, more in (("", {"mm_token_type_ids": kinds}), (".causal", {})):
            found = model.language_model(None, inputs_embeds=embedded, **more).logits[0]
            compared = (case[f"{name}.{of}{mask}"] for of in ("logits", "base"))
            well.append(compare(f"mlx-vlm, {name}{mask}", np.array(found), *compared))
    model = loaded()
    get_peft_model(model, rank=RANK, alpha=RANK * SCALE, dropout=0.0, verbose=False)
    save_adapter(model, out / "theirs-mlx-vlm" / "adapters.safetensors")
    shapes = {name: list(t.shape) for name, t in tree_flatten(model.trainable_parameters())}
    store(out, "mlx-vlm", shapes)
    return all(well)


def in_peft(out: Path) -> bool:
    """Read the adapter in transformers by PEFT; whether its logits are ours."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoConfig, Gemma4UnifiedForConditionalGeneration

    from tests.oracle.gradients import module_tree

    def loaded() -> Any:
        config = AutoConfig.from_pretrained(str(case["folder"]))
        config._attn_implementation = "eager"
        model = Gemma4UnifiedForConditionalGeneration(config).float()
        weights = load_file(Path(str(case["folder"])) / "model.safetensors")
        known = {name: module_tree(name) for name in model.state_dict()}
        state = {name: weights[own].float() for name, own in known.items() if own in weights}
        missing, _ = model.load_state_dict(state, strict=False)
        model.tie_weights()
        print("not in the folder:", [name for name in missing if "rotary" not in name])
        return model.train(False)

    torch.set_num_threads(1)
    case = np.load(out / "case.npz")
    model = PeftModel.from_pretrained(loaded(), out / "peft")
    well = []
    for name in ("text", "picture", "both"):
        ids = case[f"{name}.ids"]
        own: dict[str, Any] = {"mm_token_type_ids": torch.tensor(types(case, ids))[None]}
        if name != "text":
            own["pixel_values"] = torch.tensor(case[f"{name}.pixels"])[None]
            own["image_position_ids"] = torch.tensor(case[f"{name}.places"])[None]
        if name == "both":
            own["input_features"] = torch.tensor(case["both.frames"])[None]
            own["input_features_mask"] = torch.ones(1, len(case["both.frames"]), dtype=torch.bool)
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor(ids)[None], **own).logits[0].numpy()
        compared = (case[f"{name}.{of}"] for of in ("logits", "base"))
        well.append(compare(f"PEFT, {name}", theirs, *compared))
    targets = r".*(language_model.*_proj|embed_vision.*(dense|projection)|embed_audio.*projection)"
    model = get_peft_model(
        loaded(), LoraConfig(r=RANK, lora_alpha=RANK * SCALE, target_modules=targets)
    )
    model.save_pretrained(out / "theirs-peft")
    shapes = {name: list(t.shape) for name, t in get_peft_model_state_dict(model).items()}
    store(out, "peft", shapes)
    return all(well)


def store(out: Path, name: str, shapes: dict[str, list[int]]) -> None:
    """Write down what another program's adapter looks like."""
    config = json.loads((out / f"theirs-{name}" / "adapter_config.json").read_text())
    config.pop("base_model_name_or_path", None)
    text = json.dumps({"config": config, "shapes": shapes}, indent=1, sort_keys=True)
    (out / f"{name}.json").write_text(text + "\n")


def main() -> int:
    """Run one part; status 1 where another program computes something else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("ours", "mlx-lm", "mlx-vlm", "peft"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--kind", default="lora", choices=("lora", "dora"))
    parser.add_argument("--embedders", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "ours":
        ours(options.out, options)
        return 0
    readers = {"mlx-lm": in_mlx_lm, "mlx-vlm": in_mlx_vlm, "peft": in_peft}
    return 0 if readers[options.part](options.out) else 1


if __name__ == "__main__":
    sys.exit(main())
