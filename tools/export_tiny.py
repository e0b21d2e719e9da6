"""Make the shipped checkpoints of a training run: `python -m tools.export_tiny RUN/seed0`.

Reads what tools.train_tiny wrote with our own loader, writes assets/tiny (bfloat16) and
assets/tiny-4bit (our quantizer) with our own writer. Needs no torch.
"""

import argparse
import json
import shutil
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.model.gemma4 import Gemma4
from tools.tiny.vocabulary import CONTROLS

ROOT = Path(__file__).resolve().parent.parent
# Greedy unless asked: it is a demonstration that should read, not invent.
GENERATION = {
    "do_sample": False,
    "temperature": 0.0,
    "eos_token_id": [1, 5, CONTROLS.index("<|tool_response>")],
    "suppress_tokens": [7, 10],
}
PROCESSOR = {"image_processor": {"max_soft_tokens": 70}}


def main() -> None:
    """Read the options and write both folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path, help="folder that tools.train_tiny wrote, one a seed")
    parser.add_argument("--before", type=Path, help="folder of an earlier point of the run")
    parser.add_argument(
        "--share", type=float, default=0.2, help="of the earlier point in the mean of both"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "assets")
    options = parser.parse_args()
    for name, recipe in (("tiny", None), ("tiny-4bit", "4bit-small")):
        folder = options.out / name
        model = trained(options.trained, options.before, options.share)
        if recipe:
            quantize(model, RECIPES[recipe])
        save_folder(model, folder)
        shutil.copy(options.trained / "tokenizer.json", folder)
        (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=1) + "\n")
        (folder / "processor_config.json").write_text(json.dumps(PROCESSOR, indent=1) + "\n")
        print(folder, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


def trained(folder: Path, before: Path | None, share: float) -> Gemma4:
    """The model in bfloat16; with an earlier point the mean of both, whose noise is less."""
    model = load_folder(folder, dtype=mx.bfloat16)
    if before is not None:
        earlier = dict(tree_flatten(load_folder(before, dtype=mx.float32).parameters()))
        for name, last in tree_flatten(load_folder(folder, dtype=mx.float32).parameters()):
            earlier[name] = share * earlier[name] + (1 - share) * last
        model.load_weights([(name, mean.astype(mx.bfloat16)) for name, mean in earlier.items()])
    return model


if __name__ == "__main__":
    main()
