"""What each recipe costs the tiny model, and whether `--budget` spends bytes well.

    python bench/recipes.py [--parts table budget] [--items 128] [--divergences 64]

table   every recipe: bytes, divergence from full precision by medium, held-out accuracy.
budget  (a) the estimate that `--budget` works with against the true divergence when one matrix
        alone is quantized; (b) `--budget` against other recipes at exactly their bytes.

Markdown on stdout. Needs espeak-ng, and takes Debian's OpenBLAS where it is installed.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from processes import BENCH, use_openblas

sys.path.insert(0, str(BENCH.parent))

from mlx_gemma4.checkpoint.recipes import RECIPES, Recipe, Storage
from mlx_gemma4.checkpoint.shapes import shapes
from mlx_gemma4.convert import budget, sensitivity
from mlx_gemma4.convert.convert import convert
from mlx_gemma4.convert.plan import make_plan
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import FULL, load_config

TINY = BENCH.parent / "assets" / "tiny"
ALONE = (3, 4, 6)  # bits at which one matrix alone is quantized
SEED = 20261124


@dataclass(frozen=True)
class Measured:
    """A converted folder: bytes of its weights, and divergences by medium."""

    nbytes: int
    divergences: dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["table", "budget"])
    parser.add_argument("--items", type=int, default=128, help="of each held-out question")
    parser.add_argument("--divergences", type=int, default=64, help="items of each medium")
    parser.add_argument("--alone", type=int, default=16, help="the same, for one matrix alone")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    use_openblas(1)
    with (
        tempfile.TemporaryDirectory() as work,
        multiprocessing.get_context("spawn").Pool(options.workers) as pool,
    ):
        trial = Trial(Path(work), pool, options.divergences)
        if "table" in options.parts:
            trial.table(options.items)
        if "budget" in options.parts:
            trial.ranking(options.alone)
            trial.equal_bytes()


class Trial:
    """Converts the tiny model and measures what comes out."""

    def __init__(self, work: Path, pool: Any, count: int) -> None:
        self._work, self._pool, self._count = work, pool, count
        self._source = Folder(TINY)
        self._measured: dict[str, Measured] = {}

    def table(self, items: int) -> None:
        """Print every recipe."""
        from mlx_gemma4.evaluate.statistics import share
        from tools.score_tiny import REQUIRED

        folders = {name: self._folder(name, recipe) for name, recipe in RECIPES.items()}
        jobs = [
            (name, folders[name], question, min(64, items - done), SEED + done)
            for name in RECIPES
            for question in REQUIRED
            for done in range(0, items, 64)
        ]
        hits: dict[str, list[bool]] = defaultdict(list)
        for number, (name, right) in enumerate(self._pool.imap(_score, jobs), 1):
            hits[name] += right
            print(f"\r{number} of {len(jobs)} parts", end="", file=sys.stderr)
        print(file=sys.stderr)
        measured = self._measure(folders)
        print("| recipe | MB | KL text | KL picture | KL sound | held-out, all questions |")
        print("|---|---|---|---|---|---|")
        for name, found in measured.items():
            print(f"| {name} | {found.nbytes / 1e6:.2f} | {_cells(found)} | {share(hits[name])} |")
        print(f"\nKL in 1/1000 nat, {self._count} items a medium, with 95 % intervals;", end=" ")
        print(f"accuracy: {items} items of each of {len(REQUIRED)} questions.\n")
        self._other_groups(folders)

    def _other_groups(self, folders: dict[str, Path]) -> None:
        """Print where a recipe's groups do not fit the tiny model's shapes."""
        for name, folder in folders.items():
            quantization = load_config(folder).quantization or {}
            rule, mode = quantization.get("group_size"), quantization.get("mode")
            own = {
                path.removeprefix("language_model.model."): entry["group_size"]
                for path, entry in quantization.items()
                if isinstance(entry, dict) and entry["mode"] == mode and entry["group_size"] != rule
            }
            for path, size in own.items():
                print(f"- {name}: groups of {size} in {path}, of {rule} elsewhere")
        print()

    def ranking(self, count: int) -> None:
        """Print how well estimates of a matrix's loss rank the true ones."""
        config = load_config(TINY)
        text = config.text_config
        files = make_plan(self._source, RECIPES["4bit-small"]).files
        parts = [p for f in files for p in f.parts if p.storage is not None]
        paths = {p.name.removesuffix(".weight"): p.storage for p in parts}
        choices = {
            path: [Storage(storage.group_size, bits) for bits in ALONE]
            for path, storage in paths.items()
            if storage is not None
        }
        estimated = sensitivity.losses(self._source, text, files, choices, lambda _: None)
        assert estimated is not None
        jobs = [(path, choices[path], count) for path in choices]
        errors, true = {}, {}
        for number, (path, found, lost) in enumerate(self._pool.imap_unordered(_alone, jobs), 1):
            errors[path], true[path] = found, lost
            print(f"\r{number} of {len(jobs)} matrices", end="", file=sys.stderr)
        print(file=sys.stderr)
        from divergence import spearman

        print("| bits | relative error alone | the estimate of `--budget` | matrices |")
        print("|---|---|---|---|")
        for n, bits in enumerate(ALONE):
            of = [[found[path][n] for path in choices] for found in (errors, estimated, true)]
            ranks = f"{spearman(of[0], of[2]):.2f} | {spearman(of[1], of[2]):.2f}"
            print(f"| {bits} | {ranks} | {len(choices)} |")
        print(f"\nSpearman's correlation with the true divergence, {count} items a medium.\n")
        factors = defaultdict(list)
        for path in choices:
            kind = path.split(".")[-1]
            if kind == "k_proj" and text.layer_types[int(path.split(".")[3])] == FULL:
                kind = "k_proj of the full layer"
            unit = [e / sensitivity.looks(path, text) for e in estimated[path]]
            factors[kind] += [np.log(t / u) for t, u in zip(true[path], unit, strict=True)]
        print("True divergence over the estimate without its third, geometric means: ", end="")
        print(", ".join(f"{kind} {np.exp(np.mean(v)):.3f}" for kind, v in factors.items()) + "\n")

    def equal_bytes(self) -> None:
        """Print `--budget` beside recipes of the same bytes."""
        from divergence import MEDIA, interval, mean

        rivals = {"4bit": RECIPES["4bit"], "4bit-small": RECIPES["4bit-small"], **_mixed()}
        folders = {}
        for name, recipe in rivals.items():
            size = make_plan(self._source, recipe).nbytes
            own = budget.within(self._source, size, self._work / "losses.json")
            assert own is not None
            folders |= {name: self._folder(name, recipe)}
            folders |= {f"budget {name}": self._folder(f"budget {name}", own)}
        measured = self._measure(folders)
        print("| recipe | MB | its KL | `--budget`: MB | its KL | ratio |")
        print("|---|---|---|---|---|---|")
        for name in rivals:
            theirs, ours = measured[name], measured[f"budget {name}"]
            values = [[m.divergences[medium] for medium in MEDIA] for m in (ours, theirs)]
            low, high = interval(*values)
            means = [mean(m.divergences) for m in (theirs, ours)]
            print(
                f"| {name} | {theirs.nbytes / 1e6:.3f} | {1000 * means[0]:.3f} "
                f"| {ours.nbytes / 1e6:.3f} | {1000 * means[1]:.3f} "
                f"| {means[1] / means[0]:.2f} [{low:.2f}, {high:.2f}] |"
            )
        print(f"\nKL in 1/1000 nat, mean of the media, {self._count} items of each.\n")

    def _folder(self, name: str, recipe: Recipe) -> Path:
        folder = self._work / name.replace(" ", "-").replace("/", "-")
        if not folder.exists():
            convert(self._source, folder, recipe)
            shutil.copy(TINY / "tokenizer.json", folder)
        return folder

    def _measure(self, folders: dict[str, Path]) -> dict[str, Measured]:
        jobs = [(name, folder, self._count) for name, folder in folders.items()]
        jobs = [job for job in jobs if job[0] not in self._measured]
        for name, divergences in self._pool.imap(_diverges, jobs):
            size = sum(file.stat().st_size for file in folders[name].glob("*.safetensors"))
            self._measured[name] = Measured(size, divergences)
        return {name: self._measured[name] for name in folders}


def _cells(found: Measured) -> str:
    from divergence import MEDIA, interval

    cells = []
    for medium in MEDIA:
        values = found.divergences[medium]
        low, high = interval([values])
        cells.append(f"{1000 * values.mean():.2f} [{1000 * low:.2f}, {1000 * high:.2f}]")
    return " | ".join(cells)


def _mixed() -> dict[str, Recipe]:
    """The mixed recipes of mlx-lm 0.32.2 and mlx-vlm 0.7.10 (`convert.py` in both).

    v_proj and down_proj get more bits in the first and last eighth of the layers and in every third
    between; in mlx-vlm the embedding table too, in mlx-lm only an untied head. mixed_2_6 is left
    out: `--budget` stores no matrix in 2 bits.
    """
    config = load_config(TINY)
    count = config.text_config.num_hidden_layers
    found = {}
    for program, pairs in (
        ("mlx-lm", ((3, 4), (3, 6), (4, 6))),
        ("mlx-vlm", ((3, 4), (3, 5), (3, 6), (3, 8), (4, 6), (4, 8))),
    ):
        for low, high in pairs:
            own = {}
            for name in shapes(config):
                path = name.removesuffix(".weight")
                more = path.endswith("embed_tokens") and program == "mlx-vlm"
                if path.endswith((".v_proj", ".down_proj")):
                    n = int(path.split(".")[3])
                    more = n < count // 8 or n >= 7 * count // 8 or (n - count // 8) % 3 == 2
                if more:
                    own[path] = Storage(64, high)
            found[f"{program} mixed_{low}_{high}"] = Recipe(Storage(64, low), own=own)
    return found


@functools.cache
def _meter(count: int, examined: bool) -> Any:
    from divergence import Meter

    import mlx_gemma4 as g4

    return Meter(g4.load(TINY), TINY, count, SEED + examined, examined)


@functools.lru_cache(1)
def _dense(folder: Path) -> Any:
    import mlx_gemma4 as g4
    from mlx_gemma4.evaluate.models import spread

    model = g4.load(folder)
    spread(model)
    return model


def _score(job: tuple[str, Path, Any, int, int]) -> tuple[str, list[bool]]:
    from tools.score_tiny import score

    name, folder, question, count, seed = job
    return name, [r.wanted == r.given for r in score(_dense(folder), question, count, seed)]


def _diverges(job: tuple[str, Path, int]) -> tuple[str, dict[str, np.ndarray]]:
    name, folder, count = job
    return name, _meter(count, True).measure(_dense(folder))


def _alone(job: tuple[str, list[Storage], int]) -> tuple[str, list[float], list[float]]:
    """Relative squared errors and divergences when one matrix of the full model is quantized."""
    import mlx.core as mx
    from divergence import mean

    from mlx_gemma4.checkpoint.cpu_projections import by_column

    path, storages, count = job
    model = _dense(TINY)
    module = dict(model.named_modules())[path]
    weight = module.weight
    errors, lost = [], []
    for s in storages:
        packed = mx.quantize(weight.astype(mx.bfloat16), s.group_size, s.bits)
        back = mx.dequantize(packed[0], *(p.astype(mx.float32) for p in packed[1:]),
                             s.group_size, s.bits)  # fmt: skip
        module.weight = by_column(back)
        errors.append((mx.square(back - weight).sum() / mx.square(weight).sum()).item())
        lost.append(mean(_meter(count, False).measure(model)))
    module.weight = weight
    return path, errors, lost


if __name__ == "__main__":
    main()
