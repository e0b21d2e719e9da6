"""Train the drafter of the demonstration model: `python -m tools.train_drafter OUT`.

The model reads fresh conversations of its world once; the drafter then learns from what it left:
its last keys and values of either kind of layer, its hidden states, and the logits of its answers.
It drafts `CHAIN` tokens from every place of an answer, as `mlx_gemma4.model.drafter` does.
What is read, where the weights start and what is learned at each step follow from the seed, on one
thread and for a number of steps: the same versions on the same kind of processor write the same
file. `training.json` has them, with seed and steps.
Takes a quarter of an hour on one core; needs the `train` extra and espeak-ng.
"""

import argparse
import json
import math
import pickle
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.evaluate.tiny.tasks import Exchange, World
from mlx_gemma4.model.config import FULL, SLIDING, TextConfig
from mlx_gemma4.model.drafter_config import DRAFTER_TYPE, DrafterConfig
from mlx_gemma4.model.gemma4 import Gemma4
from tools.tiny.conversation import Writer
from tools.tiny.drafter_network import DrafterNetwork, KeysValues
from tools.tiny.first_world import FirstWorld

CHAIN = 3  # drafts in a row that are learned
BATCH, PLACES = 8, 16  # conversations in a step, and places of each
SHARES = {
    "lines": 9, "strip": 2, "asked": 2, "digits": 2, "commands": 3, "receipt": 2, "several": 3,
}  # fmt: skip
RATE, WARM, STILL = 3e-3, 50, 0.3  # the learning rate, its first steps, and when it starts to fall


@dataclass(frozen=True, eq=False)
class Lesson:
    """One conversation as the model left it, in float16; T rows, A ids that it answered.

    Attributes:
        ids: (A,) of the answers.
        rows: (A,) of these ids.
        hidden: (A, backbone) of the rows before, which predict them.
        logits: (A, vocab) of the same.
        seen: by kind of layer, keys and values (kv heads, T, D).
    """

    ids: np.ndarray
    rows: np.ndarray
    hidden: np.ndarray
    logits: np.ndarray
    seen: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def length(self) -> int:
        """Rows of the conversation."""
        return int(self.seen[FULL][0].shape[1])

    @property
    def starts(self) -> np.ndarray:
        """Places from which the same answer goes on for a whole chain."""
        return np.flatnonzero(self.rows[CHAIN:] == self.rows[:-CHAIN] + CHAIN)


def conversation(tasks: FirstWorld, rng: random.Random) -> list[Exchange]:
    """One of the world's conversations: mostly receipts, also several of them."""
    (name,) = rng.choices(list(SHARES), list(SHARES.values()))
    if name == "lines":
        return tasks.asked("lines")
    if name == "asked":
        return tasks.asked(rng.choice(("total", "date", "shop", "tax")))
    if name == "several":
        return [turn for _ in range(rng.randint(2, 4)) for turn in tasks.asked("lines")]
    made: list[Exchange] = getattr(tasks, name)()
    return made


def lessons(folder: Path, seed: int, count: int) -> Iterator[Lesson]:
    """Have the model read conversations; its layout is the published one."""
    model = load_folder(folder, layout="plain")
    writer = Writer(folder / "tokenizer.json")
    tasks = FirstWorld(seed, World(budgets=(70, 70, 140), shift=4.0))
    rng = random.Random(seed)
    for _ in range(count):
        example = writer.write(conversation(tasks, rng))
        ids, rows = np.array(example.ids), np.flatnonzero(example.learn)
        cache = model.make_cache()
        media = list(zip(example.patches, example.positions, strict=True))
        hidden = model.hidden(model.embed(ids, media, audio=example.frames), cache)
        logits = model.logits(hidden[:, mx.array(rows - 1)])
        mx.eval(hidden, logits)
        yield Lesson(
            ids[rows], rows, half(hidden[0])[rows - 1], half(logits[0]), last_rows(model, cache)
        )


def last_rows(model: Gemma4, cache: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Keys and values of the last layer of either kind, in the published order of their dims."""
    kinds, result = model.config.text_config.layer_types, {}
    for kind in (SLIDING, FULL):
        number = len(kinds) - 1 - kinds[::-1].index(kind)
        held = cache.layers[number].rows.view(0, cache.offset)
        if kind == FULL:  # one array: keys, then values
            held = mx.split(held[0], 2, axis=-1)
        result[kind] = (half(held[0][0]), half(held[1][0]))
    return result


def half(value: mx.array) -> np.ndarray:
    """As float16, which holds it precisely enough at half the memory."""
    return np.array(value.astype(mx.float16))


def drafter_config(target: TextConfig) -> dict[str, Any]:
    """The contents of config.json: the real drafter's shape at this model's size."""
    kinds = (SLIDING, SLIDING, SLIDING, FULL)
    text = asdict(target) | {
        "model_type": "gemma4_unified_text",
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": len(kinds),
        "num_kv_shared_layers": len(kinds),
        "layer_types": list(kinds),
        "final_logit_softcapping": None,
        "rope_parameters": {
            SLIDING: asdict(target.rope_parameters[SLIDING]) | {"rope_type": "default"},
            FULL: asdict(target.rope_parameters[FULL]) | {"rope_type": "proportional"},
        },
        "tie_word_embeddings": True,
    }
    return {
        "architectures": ["Gemma4UnifiedAssistantForCausalLM"],
        "model_type": DRAFTER_TYPE,
        "backbone_hidden_size": target.hidden_size,
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "use_ordered_embeddings": False,
        "text_config": text,
    }


@dataclass(frozen=True, eq=False)
class Batch:
    """P places of each of B lessons of like lengths, whose rows are padded to T.

    Attributes:
        ids: (B, P, CHAIN): the ids that are fed, one a draft.
        logits: (B, P, CHAIN, vocab): the model's, after each.
        hidden: (B, P, backbone) of the row that predicted the first.
        rows: (B, P): how many rows were cached.
        seen: by kind of layer, keys and values (B, kv heads, T, D).
        masks: by kind of layer (B, P, T), added to the scores.
    """

    ids: Tensor
    logits: Tensor
    hidden: Tensor
    rows: Tensor
    seen: KeysValues
    masks: dict[str, Tensor]

    @classmethod
    def of(cls, found: Sequence[Lesson], window: int, rng: np.random.Generator) -> "Batch":
        """Choose places from which a whole chain of the answer follows, again where they are few.

        A place sees the rows before it, on sliding layers those of its window.
        """
        chosen = []
        for one in found:
            starts = one.starts
            chosen.append(rng.choice(starts, PLACES, replace=len(starts) < PLACES))
        steps = np.arange(CHAIN)
        rows = torch.from_numpy(
            np.stack([one.rows[at] for one, at in zip(found, chosen, strict=True)])
        )
        ids = [one.ids[at[:, None] + steps] for one, at in zip(found, chosen, strict=True)]
        logits = [
            one.logits[at[:, None] + steps + 1] for one, at in zip(found, chosen, strict=True)
        ]
        hidden = [one.hidden[at] for one, at in zip(found, chosen, strict=True)]
        longest = max(one.length for one in found)
        keys = torch.arange(longest)[None, None]
        hides = {FULL: keys >= rows[..., None]}
        hides[SLIDING] = hides[FULL] | (keys < rows[..., None] - window)
        return cls(
            torch.from_numpy(np.stack(ids)),
            torch.from_numpy(np.stack(logits)).float(),
            torch.from_numpy(np.stack(hidden)).float(),
            rows,
            {kind: (_padded(found, kind, 0), _padded(found, kind, 1)) for kind in hides},
            {kind: hidden_rows.float() * -1e9 for kind, hidden_rows in hides.items()},
        )


def _padded(found: Sequence[Lesson], kind: str, which: int) -> Tensor:
    longest = max(one.length for one in found)
    rows = [one.seen[kind][which] for one in found]
    spare = [np.pad(row, [(0, 0), (0, longest - row.shape[1]), (0, 0)]) for row in rows]
    return torch.from_numpy(np.stack(spare)).float()


def losses(network: DrafterNetwork, table: Tensor, batch: Batch) -> tuple[Tensor, list[float]]:
    """The mean cross-entropy to the model's own distribution, and the share of each draft right.

    Each draft is fed the id that follows in the answer, and its own hidden state.
    """
    hidden, positions = batch.hidden, (batch.rows - 1).float()
    total, shares = torch.zeros(()), []
    for step in range(CHAIN):
        embedded = table[batch.ids[:, :, step]]
        logits, hidden = network.step(embedded, hidden, batch.seen, batch.masks, positions)
        wanted = batch.logits[:, :, step]
        total = total - (wanted.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        shares.append(float((logits.argmax(-1) == wanted.argmax(-1)).float().mean()))
    return total / CHAIN, shares


def train(
    network: DrafterNetwork, table: Tensor, known: list[Lesson], steps: int, seed: int
) -> None:
    """Learn for so many steps, and print now and then how many drafts are right."""
    rng = np.random.default_rng(seed)
    known = sorted((one for one in known if len(one.starts)), key=lambda one: one.length)
    matrices = [p for p in network.parameters() if p.ndim == 2]
    others = [p for p in network.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    window = network.target.sliding_window
    sums, started = np.zeros(CHAIN), time.time()
    for step in range(1, steps + 1):
        rate = RATE * min(1.0, step / WARM)
        if (late := step / steps - STILL) > 0:
            rate *= 0.5 + 0.5 * math.cos(math.pi * late / (1 - STILL))
        for group in optimizer.param_groups:
            group["lr"] = rate
        start = max(0, int(rng.integers(len(known))) - 3 * BATCH)
        near = known[start : start + 3 * BATCH]
        chosen = rng.choice(len(near), min(BATCH, len(near)), replace=False)
        batch = Batch.of([near[i] for i in chosen], window, rng)
        loss, shares = losses(network, table, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        sums += shares
        if step % 100 == 0:
            shares = ", ".join(f"{share:.3f}" for share in sums / 100)
            print(
                f"step {step}, {time.time() - started:.0f} s, right by place: {shares}", flush=True
            )
            sums[:] = 0


def main() -> None:
    """Read the conversations, train, and write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path("assets/tiny"))
    parser.add_argument("--conversations", type=int, default=800)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lessons", type=Path, help="a file that keeps what was read")
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    if options.lessons and options.lessons.exists():
        known = [Lesson(**one) for one in pickle.loads(options.lessons.read_bytes())]
    else:
        known = list(lessons(options.model, options.seed, options.conversations))
        if options.lessons:
            options.lessons.write_bytes(pickle.dumps([vars(one) for one in known]))
    print(f"{len(known)} conversations read, {time.time() - started:.0f} s", flush=True)
    model = load_folder(options.model, layout="plain")
    target = model.config.text_config
    written = drafter_config(target)
    config = DrafterConfig.from_dict(written)
    ids = mx.arange(target.vocab_size)
    table = torch.from_numpy(np.array(model.language_model.model.embed(ids)[0]))
    network = DrafterNetwork(config, target, options.seed)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters", flush=True)
    train(network, table, known, options.steps, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(network.checkpoint(), options.out / "model.safetensors", {"format": "pt"})
    made = {"seed": options.seed, "steps": options.steps, "conversations": len(known)}
    made |= {name: version(name) for name in ("torch", "mlx", "numpy")}
    (options.out / "training.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    text = json.dumps(written, indent=2) + "\n"
    (options.out / "config.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
