"""Train the demonstration model in one command: `python -m tools.train_tiny OUT --minutes 9`.

Processes make fresh conversations and this one trains on them, on a GPU where there is one; with
two seeds, two networks learn from the same batches. It ends by its own clock and writes weights and
log on the way, so that a run that was cut still leaves what it had. Needs the `train` extra,
espeak-ng, flite and the fonts of `tools/tiny/pages.py`.
"""

import argparse
import json
import random
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION
from tools.tiny import vocabulary
from tools.tiny.batches import Batches, Clock, again, collate
from tools.tiny.configuration import Shape, configuration
from tools.tiny.conversation import Writer
from tools.tiny.curriculum import PLANS, learning_rate, stage_at
from tools.tiny.losses import exact, losses
from tools.tiny.network import Network, checkpoint, load_checkpoint
from tools.tiny.scenes import Scenes, tools

WIDE = Shape(vocabulary=0, hidden=256, inner=768)
POOL = 60  # batches that are kept to be used again
HEADS = ("seeing", "hearing", "place_query", "place_key")


class Learner:
    """One network with its optimizers and the sums for its log."""

    def __init__(self, shape: Shape, seed: int, options: argparse.Namespace) -> None:
        self.seed, self.device = seed, torch.device(options.device)
        self.helpers: float = options.helpers
        self.network = Network(shape, seed)
        if options.start:
            load_checkpoint(self.network, load_file(options.start / "model.safetensors"))
            if (heads := _heads(options.start)).exists():
                self.network.load_state_dict(load_file(heads), strict=False)
        self.network.to(self.device)
        self.optimizers = _optimizers(self.network, options.muon)
        self.sums: dict[str, torch.Tensor] = {}

    def learn(self, name: str, batch: dict[str, torch.Tensor], rate: float) -> None:
        """One step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            found = losses(self.network, batch, self.helpers > 0)
        torch.autograd.backward(found.total(self.helpers))
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        values = (found.answer, found.right, found.seen, found.hearing, found.pointing)
        row = torch.stack([torch.ones_like(values[0]), *values]).detach()
        self.sums[name] = self.sums[name] + row if name in self.sums else row

    def report(self) -> dict[str, Any]:
        """Means since the last report, by task."""
        names = ("loss", "right", "seen", "ctc", "place")
        found = {}
        for name, sums in sorted(self.sums.items()):
            count, *values = sums.tolist()
            found[name] = {k: round(v / count, 3) for k, v in zip(names, values, strict=True)}
            found[name]["batches"] = count
        self.sums.clear()
        return found

    def save(self, folder: Path) -> None:
        """Write weights (bfloat16, the checkpoint's names) and heads; a cut leaves those before."""
        folder.mkdir(exist_ok=True)
        weights = {n: w.to(torch.bfloat16) for n, w in checkpoint(self.network).items()}
        heads = {n: w for n, w in self.network.state_dict().items() if n.startswith(HEADS)}
        for file, tensors in ((folder / "model.safetensors", weights), (_heads(folder), heads)):
            part = file.with_suffix(".part")
            save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, part)
            part.rename(file)
        config = configuration(self.network.shape)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def _heads(folder: Path) -> Path:
    # beside the checkpoint, which holds nothing that Gemma 4 does not know
    return folder.with_name(folder.name + "-heads.safetensors")


def _optimizers(network: Network, muon: bool) -> list[torch.optim.Optimizer]:
    matrices, groups = [], defaultdict(list)
    for name, weight in network.named_parameters():
        if muon and weight.ndim == 2 and name.startswith("layers."):
            matrices.append(weight)
        elif "patch_dense.weight" in name:
            groups[(0.3, 0.02)].append(weight)
        else:
            groups[(1.0, 0.02 if weight.ndim == 2 else 0.0)].append(weight)
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{"params": p, "scale": s, "weight_decay": d} for (s, d), p in groups.items()],
            betas=(0.9, 0.98),
            fused=True,
        )
    ]
    if matrices:
        found.append(
            torch.optim.Muon(
                [{"params": matrices, "scale": 1.0}],
                weight_decay=0.02,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return found


def examine(
    learner: Learner, writer: Writer, options: argparse.Namespace, seed: int
) -> dict[str, float]:
    """Share of held-out answers that greedy decoding would return exactly, by task and kind."""
    stage = PLANS[options.plan][-1]
    scenes = Scenes(seed, EXAMINATION, stage.width)
    counts: dict[str, list[bool]] = defaultdict(list)
    audio = writer.control("<|audio|>")
    with torch.no_grad():
        for name in stage.shares:
            for _ in range(options.items // 8):
                group = [getattr(scenes, name)() for _ in range(8)]
                batch = collate([writer.write(g, tools=tools(name)) for g in group], audio)
                batch = {k: v.to(learner.device) for k, v in batch.items()}
                for exchanges, rights in zip(group, exact(learner.network, batch), strict=True):
                    for exchange, right in zip(exchanges, rights, strict=False):
                        counts[f"{name} {exchange.kind}".strip()].append(right)
    return {name: round(sum(hits) / len(hits), 3) for name, hits in sorted(counts.items())}


def train(options: argparse.Namespace) -> None:
    """Train until the time is over."""
    torch.set_num_threads(1 if options.device == "cpu" else 4)
    file = options.out / "tokenizer.json"
    if options.start:
        shutil.copy(options.start / "tokenizer.json", file)
    else:
        vocabulary.build(file)
    writer = Writer(file)
    clock = Clock(time.time(), 60 * options.minutes)
    batches = Batches(file, clock, options.rows, options.seeds[0], options.plan)
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=8,
        pin_memory=options.device == "cuda",
        multiprocessing_context="fork",
    )
    made = iter(loader)
    size = writer.tokenizer.get_vocab_size()
    shape = Shape(**{**vars(WIDE if options.wide else Shape()), "vocabulary": size})
    learners = [Learner(shape, seed, options) for seed in options.seeds]
    step, logged, saved, examined = 0, clock.start, clock.start, clock.start
    pool: list[tuple[str, dict[str, torch.Tensor]]] = []
    rng = random.Random(options.seeds[0])
    grain = torch.Generator(options.device).manual_seed(options.seeds[0])
    with (options.out / "training.jsonl").open("a") as log:
        while (fraction := clock.fraction()) < 1.0:
            if pool and step % options.reuse:
                name, batch = rng.choice(pool)
                batch = again(batch, grain)
            else:
                try:
                    name, batch = next(made)
                except RuntimeError as error:  # a voice's library took its process with it
                    print(
                        json.dumps({"step": step, "maker": str(error)[:200]}), file=log, flush=True
                    )
                    made = iter(loader)
                    continue
                batch = {k: v.to(options.device, non_blocking=True) for k, v in batch.items()}
                if options.reuse > 1:
                    pool = [*pool[-POOL:], (name, batch)]
            rate = learning_rate(fraction, step, options.rate)
            for learner in learners:
                learner.learn(name, batch, rate)
            step += 1
            now = time.time()
            last = clock.fraction() >= 1.0
            if now - logged > options.log or last:
                logged = now
                line = {"step": step, "minutes": round((now - clock.start) / 60, 2),
                        "stage": stage_at(PLANS[options.plan], fraction).start}  # fmt: skip
                for learner in learners:
                    print(json.dumps({**line, "seed": learner.seed, "tasks": learner.report()}),
                          file=log, flush=True)  # fmt: skip
            if now - saved > options.save or last:
                saved = now
                for learner in learners:
                    folder = options.out / f"seed{learner.seed}"
                    learner.save(folder)
                    shutil.copy(file, folder)
            if now - examined > 60 * options.examine and not last:
                examined = now
                exacts = {str(learner.seed): examine(learner, writer, options, 10**6 + step)
                          for learner in learners}  # fmt: skip
                print(json.dumps({"step": step, "exact": exacts}), file=log, flush=True)
        if options.final:
            exacts = {
                str(learner.seed): examine(learner, writer, options, 77) for learner in learners
            }
            print(json.dumps({"step": step, "exact": exacts}), file=log, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for tokenizer, weights and log")
    parser.add_argument("--minutes", type=float, default=9.0, help="wall-clock length of the run")
    parser.add_argument("--plan", choices=PLANS, default="scratch")
    parser.add_argument("--start", type=Path, help="a checkpoint's folder to go on from")
    parser.add_argument("--wide", action="store_true", help="hidden size 256 instead of 192")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that make conversations")
    parser.add_argument("--reuse", type=int, default=1, help="times that a batch is used")
    parser.add_argument("--rows", type=int, default=1200, help="token rows in a batch")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument(
        "--muon",
        action="store_true",
        help="for the matrices of the layers: four times slower on a CPU",
    )
    parser.add_argument("--helpers", type=float, default=1.0, help="weight of the helper heads")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--examine", type=float, default=10.0, help="minutes between examinations")
    parser.add_argument("--items", type=int, default=32, help="conversations a task in one")
    parser.add_argument("--final", action="store_true", help="examine once more at the end")
    parser.add_argument("--log", type=float, default=30.0, help="seconds between lines of the log")
    parser.add_argument("--save", type=float, default=60.0, help="seconds between checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


if __name__ == "__main__":
    main()
