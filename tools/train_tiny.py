"""Train the demonstration model from scratch: `python -m tools.train_tiny OUT --minutes 100`.

transformers' own class on torch, on the CPU; one single-threaded process a core, gradients averaged
after every step. Each process adds up batches until the step's seconds are over, so a busy core
slows nobody down. Everything is made on the fly and never repeated. A run that was cut goes on from
its last checkpoint. Needs the `train` extra and espeak-ng.
"""

import argparse
import copy
import json
import random
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Tasks
from tools.tiny import reference, vocabulary
from tools.tiny.conversation import Example, Writer
from tools.tiny.curriculum import learning_rate, stage_at
from tools.tiny.reference import Heads

ROWS = 1200  # token rows in one batch of one process
TASKS = ("word", "strip", "receipt", "mixed", "later", "digits", "commands", "chat")
SYSTEMS = ("You are a helpful assistant.", "Be brief.", "Answer in one line.")


class Trainer:
    """One process of the run: its model, its tasks, its share of every step."""

    def __init__(self, rank: int, options: argparse.Namespace) -> None:
        self.rank, self.options = rank, options
        self.out: Path = options.out
        self.writer = Writer(self.out / "tokenizer.json")
        size = self.writer.tokenizer.get_vocab_size()
        self.model = reference.build(size, options.seed)
        self.heads = Heads(size)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimizers = _optimizers(self.model, self.heads, options.muon)
        self.step, self.spent = 0, 0.0
        self.rng = random.Random(options.seed * 1000 + rank)
        self.tasks: Tasks | None = None
        self.sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 6)

    def load(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        file = self.out / "training.pt"
        if not file.exists():
            return
        kept = torch.load(file, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.heads.load_state_dict(kept["heads"])
        for optimizer, state in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.spent = kept["step"], kept["spent"]
        self.rng = random.Random(f"{self.options.seed} {self.rank} {self.step}")

    def save(self) -> None:
        """Write the checkpoint; a cut while writing leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "spent": self.spent,
        }
        torch.save(state, self.out / "training.part")
        (self.out / "training.part").rename(self.out / "training.pt")

    def export(self) -> None:
        """Write the model as transformers writes it, bfloat16, for our own converter to read."""
        folder = self.out / "reference"
        copy.deepcopy(self.model).to(torch.bfloat16).save_pretrained(folder)
        shutil.copy(self.out / "tokenizer.json", folder)

    def fraction(self) -> float:
        """How much of the run is over, 0 to 1."""
        return self.spent / (60 * self.options.minutes)

    def train_step(self) -> None:
        """Add up batches for the step's seconds, average over processes, update."""
        began = time.monotonic()
        stage = stage_at(self.fraction())
        if self.tasks is None or self.tasks.world != stage.world:
            self.tasks = Tasks(self.rng.randrange(2**62), stage.world)
        batches = 0
        while time.monotonic() - began < self.options.seconds:
            name = self.rng.choices(list(stage.shares), list(stage.shares.values()))[0]
            losses = reference.run(self.model, self.heads, self.batch(name))
            total = losses.answer
            if losses.seeing is not None:
                total = total + losses.seeing
            if losses.hearing is not None:
                total = total + 0.1 * losses.hearing
            if losses.pointing is not None:
                total = total + 0.3 * losses.pointing
            total.backward()
            batches += 1
            row = self.sums[name]
            for i, value in enumerate(
                (1.0, losses.answer, losses.right, losses.seen, losses.hearing, losses.pointing)
            ):
                row[i] += 0.0 if value is None else float(torch.as_tensor(value).detach())
        self._average(batches)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        rate = learning_rate(self.fraction(), self.step, self.options.rate)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        clock = torch.tensor(time.monotonic() - began)
        if distributed.is_initialized():
            distributed.all_reduce(clock, distributed.ReduceOp.MAX)
        self.spent += float(clock)
        self.step += 1

    def batch(self, name: str) -> list[Example]:
        """Fresh conversations of one task, about ROWS rows."""
        assert self.tasks is not None
        examples: list[Example] = []
        while sum(len(e.ids) for e in examples) < ROWS:
            exchanges = getattr(self.tasks, name)()
            system = self.rng.choice(SYSTEMS) if self.rng.random() < 0.1 else ""
            examples.append(self.writer.write(exchanges, self.rng.random() < 0.4, system=system))
        return examples

    def report(self) -> dict[str, object]:
        """Means since the last report."""
        tasks = {
            name: {
                "loss": round(a / n, 3),
                "ids_right": round(r / n, 3),
                "seen": round(s / n, 3),
                "ctc": round(c / n, 2),
                "place": round(p / n, 2),
            }
            for name, (n, a, r, s, c, p) in self.sums.items()
        }
        self.sums.clear()
        return {"step": self.step, "minutes": round(self.spent / 60, 2), "tasks": tasks}

    def examine(self, items: int) -> dict[str, float]:
        """Share of held-out answers that greedy decoding would give exactly, by kind."""
        tasks = Tasks(10**6 + self.step, EXAMINATION)
        counts: dict[str, list[int]] = defaultdict(list)
        with torch.no_grad():
            for name in TASKS:
                for _ in range(items // 8):
                    group = [getattr(tasks, name)() for _ in range(8)]
                    examples = [self.writer.write(g, empty_thought=False) for g in group]
                    rights = reference.exact(self.model, examples)
                    for exchanges, right in zip(group, rights, strict=True):
                        for exchange, hit in zip(exchanges, right, strict=True):
                            counts[f"{name} {exchange.kind}".strip()].append(hit)
        return {name: round(sum(hits) / len(hits), 3) for name, hits in sorted(counts.items())}

    def _average(self, batches: int) -> None:
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([float(batches)])])
        if distributed.is_initialized():
            distributed.all_reduce(flat)
        flat /= flat[-1].clone()
        place = 0
        for parameter in self.parameters:
            parameter.grad = flat[place : place + parameter.numel()].view_as(parameter)
            place += parameter.numel()


def _optimizers(model: nn.Module, heads: nn.Module, muon: bool) -> list[torch.optim.Optimizer]:
    matrices, groups = [], defaultdict(list)
    for name, weight in [*model.named_parameters(), *heads.named_parameters()]:
        if muon and weight.ndim == 2 and "layers." in name:
            matrices.append(weight)
        elif "patch_dense.weight" in name:
            groups[(0.3, 0.02)].append(weight)
        else:
            groups[(1.0, 0.02 if weight.ndim == 2 else 0.0)].append(weight)
    adam = torch.optim.AdamW(
        [{"params": p, "scale": s, "weight_decay": d} for (s, d), p in groups.items()],
        betas=(0.9, 0.98),
        fused=True,
    )
    if not matrices:
        return [adam]
    orthogonal = torch.optim.Muon(
        [{"params": matrices, "scale": 1.0}], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, orthogonal]


def _work(rank: int, options: argparse.Namespace, meeting: str) -> None:
    torch.set_num_threads(1)
    if options.workers > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.workers
        )
    trainer = Trainer(rank, options)
    trainer.load()
    logged = saved = examined = trainer.spent
    with (options.out / "training.jsonl").open("a") as log:
        while trainer.fraction() < 1.0:
            trainer.train_step()
            last = trainer.fraction() >= 1.0
            if rank == 0 and (trainer.spent - logged > 30 or last):
                logged = trainer.spent
                print(json.dumps(trainer.report()), file=log, flush=True)
            if rank == 0 and (trainer.spent - saved > 120 or last):
                saved = trainer.spent
                trainer.save()
            if trainer.spent - examined > 60 * options.examine or last:
                examined = trainer.spent
                if rank == 0:
                    exact = trainer.examine(options.items)
                    print(
                        json.dumps(
                            {
                                "step": trainer.step,
                                "minutes": round(examined / 60, 2),
                                "exact": exact,
                            }
                        ),
                        file=log,
                        flush=True,
                    )
                if options.workers > 1:
                    distributed.barrier()
    if rank == 0:
        trainer.export()


def main() -> None:
    """Read the options and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for tokenizer, checkpoint and log")
    parser.add_argument(
        "--minutes", type=float, default=100.0, help="wall-clock length of the whole run"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, one a core")
    parser.add_argument("--seconds", type=float, default=0.6, help="length of one step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--examine", type=float, default=6.0, help="minutes between examinations")
    parser.add_argument(
        "--items", type=int, default=96, help="conversations a task in an examination"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--muon", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    vocabulary.build(options.out / "tokenizer.json")
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_work, (options, f"{folder}/meeting"), options.workers)


if __name__ == "__main__":
    main()
