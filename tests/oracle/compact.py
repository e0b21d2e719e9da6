"""Make the compact cases from the oracle's full ones: python -m tests.oracle.compact SOURCE OUT
(OUT is tests/oracle/cases)

SOURCE holds transformers 5.23.0's numbers on the checkpoint that `random_checkpoint.py` writes: an
.npz for each case, with inputs and the logits of every token under both mask rules (fp32). What is
left out can be made again, and is compared here before it goes: patches and frames
(`random_checkpoint.MEDIA`); padding goes too, and a batch becomes one case a row. The likeliest of
some logits become the reference that ships, `random.npz`; in the cases logits stay whole, as
integers of 2 ** -13 in two planes: off by 6.1e-5 at most, a thirtieth of the bound of the tests.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from mlx_gemma4.cli.selftest import reference
from mlx_gemma4.cli.selftest.random_checkpoint import CONFIG, MEDIA, clip, picture
from mlx_gemma4.cli.selftest.reference import SHIPPED, likeliest

SCALE = 2**13
SHIPPED_CASES = ("text_long", "image1_over_window", "audio2_padded", "image_audio", "video")


def planes(name: str, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Lower 16 bits and the rest, which compress better apart."""
    fixed = np.round(logits.astype(np.float64) * SCALE).astype(np.int32)
    return {
        f"{name}.low": (fixed & 0xFFFF).astype(np.uint16),
        f"{name}.high": (fixed >> 16).astype(np.int8),
    }


def from_planes(case: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """The logits that `planes` stored: float32."""
    fixed = case[f"{name}.high"].astype(np.int32) * 2**16 + case[f"{name}.low"]
    return (fixed / SCALE).astype(np.float32)


def compare_media(name: str, full: np.lib.npyio.NpzFile) -> None:
    """Stop unless the media of `MEDIA` are those of the full case, bit for bit."""
    media = MEDIA[name]
    for pictures, pixels, at in (
        (media.images, "pixel_values", "image_position_ids"),
        (media.videos, "pixel_values_videos", "video_position_ids"),
    ):
        for n, spec in enumerate(pictures):
            kept = (full[at][n] >= 0).all(axis=-1)
            patches, positions = picture(*spec)
            assert np.array_equal(full[pixels][n][kept], patches), (name, spec)
            assert np.array_equal(full[at][n][kept], positions), (name, spec)
    for n, spec in enumerate(media.audio):
        kept = full["input_features_mask"][n]
        assert np.array_equal(full["input_features"][n][kept], clip(*spec)), (name, spec)


def compact(source: Path, out: Path) -> None:
    """Write every case of `source`, and the checkpoint's config and shapes, to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in MEDIA:
        stem, row = (name[:-2], int(name[-1])) if name.startswith("batch") else (name, 0)
        full = np.load(source / f"{stem}.npz")
        compare_media(name, full)
        shown = full["input_ids"].shape[-1:]
        tokens = (
            full["attention_mask"][row] > 0 if "attention_mask" in full else np.ones(shown, bool)
        )
        kept = {"input_ids": full["input_ids"][row][tokens].astype(np.int16)}
        for logits in ("logits", "logits_official"):
            if logits in full:
                kept |= planes(logits, full[logits][row][tokens])
        for greedy in ("", "_official"):
            if f"greedy_ids{greedy}" in full:
                kept[f"greedy_ids{greedy}"] = full[f"greedy_ids{greedy}"][row].astype(np.int16)
                kept |= planes(f"greedy_logits{greedy}", full[f"greedy_logits{greedy}"][row])
        np.savez_compressed(out / f"{name}.npz", **kept)
    shutil.copy(source / "config.json", CONFIG)
    ship(out, SHIPPED / "random.npz")
    tensors = json.loads((source / "tensors.json").read_text())["tensors"]
    (out.parent / "tensors.json").write_text(json.dumps(tensors, indent=0) + "\n")


def ship(cases: Path, file: Path) -> None:
    """Write the reference of `gemma4 selftest`: the official rule's logits of SHIPPED_CASES."""
    kept = []
    for name in SHIPPED_CASES:
        case = np.load(cases / f"{name}.npz")
        logits = "logits_official" if "logits_official.low" in case else "logits"
        kept.append(likeliest(name, case["input_ids"], from_planes(case, logits)))
    reference.Reference("transformers 5.23.0, float32", "", "official", tuple(kept)).save(file)


if __name__ == "__main__":
    compact(Path(sys.argv[1]), Path(sys.argv[2]))
