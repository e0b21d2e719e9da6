"""Batches of fresh conversations, made in processes of their own."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from .conversation import PIXELS, SLOTS, Example, Writer, sight
from .curriculum import PLANS, stage_at
from .scenes import Scenes, tools

SYSTEMS = ("You are a helpful assistant.", "Be brief.", "Answer in one line.")
LONGEST = 1100  # token rows of a conversation
Batch = dict[str, torch.Tensor]


def collate(examples: Sequence[Example], audio: int) -> Batch:
    """Pad conversations to one length (B, T); patches, frames and labels one after the other.

    Args:
        audio: the id of the control token that is the placeholder of a frame.
    """
    length = max(len(e.ids) for e in examples)
    length += -length % 16  # what the attention of a GPU wants

    def padded(name: str, fill: int, kind: torch.dtype) -> torch.Tensor:
        rows = [getattr(e, name) + [fill] * (length - len(e.ids)) for e in examples]
        return torch.tensor(rows, dtype=kind)

    def joined(parts: list[np.ndarray], shape: tuple[int, ...], kind: Any) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts) if parts else np.zeros(shape)).to(kind)

    ids = padded("ids", 0, torch.long)
    return {
        "ids": ids,
        "learn": padded("learn", 0, torch.bool),
        "blocks": padded("blocks", 0, torch.long),
        "aims": padded("places", -1, torch.long),
        "heard": ids == audio,
        "patches": joined([sight(p) for e in examples for p in e.patches], (0, PIXELS), torch.half),
        "places": joined([p for e in examples for p in e.positions], (0, 2), torch.long),
        "glyphs": joined([g for e in examples for g in e.glyphs], (0, SLOTS), torch.long),
        "frames": joined([f for e in examples for f in e.frames], (0, 640), torch.float),
        "spans": torch.tensor([len(f) for e in examples for f in e.frames], dtype=torch.long),
        "said": torch.tensor([i for e in examples for s in e.said for i in s], dtype=torch.long),
        "said_lengths": torch.tensor([len(s) for e in examples for s in e.said], dtype=torch.long),
    }


@dataclass(frozen=True)
class Clock:
    """What the makers must know of the run: its start (Unix time) and its length in seconds."""

    start: float
    length: float

    def fraction(self) -> float:
        """How much of the run is over, 0 to 1."""
        return min(1.0, max(0.0, (time.time() - self.start) / self.length))


class Batches(IterableDataset[tuple[str, Batch]]):
    """Endless batches of about `rows` token rows, each of one task, by the curriculum's shares."""

    def __init__(self, tokenizer: Path, clock: Clock, rows: int, seed: int, plan: str) -> None:
        self.tokenizer, self.clock, self.rows, self.seed = tokenizer, clock, rows, seed
        self.plan = PLANS[plan]

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        worker = get_worker_info()
        number = worker.id if worker else 0
        rng = random.Random(f"{self.seed} {number} {self.clock.start}")
        torch.set_num_threads(1)
        writer = Writer(self.tokenizer)
        audio = writer.control("<|audio|>")
        scenes: Scenes | None = None
        while True:
            stage = stage_at(self.plan, self.clock.fraction())
            if scenes is None or (scenes.world, scenes.width) != (stage.world, stage.width):
                scenes = Scenes(rng.randrange(2**62), stage.world, stage.width)
            name = rng.choices(list(stage.shares), list(stage.shares.values()))[0]
            yield name, collate(self._examples(name, scenes, writer, rng), audio)

    def _examples(
        self, name: str, scenes: Scenes, writer: Writer, rng: random.Random
    ) -> list[Example]:
        found: list[Example] = []
        longest = 0
        while longest * (len(found) + 1) < self.rows:
            exchanges = getattr(scenes, name)()
            if rng.random() < 0.15:  # one conversation more before it, so that positions vary
                other = rng.choice((scenes.chat, scenes.receipt, scenes.digits))()
                exchanges = [*other[:3], *exchanges]
            system = rng.choice(SYSTEMS) if rng.random() < 0.1 else ""
            example = writer.write(exchanges, rng.random() < 0.3, system=system, tools=tools(name))
            if len(example.ids) <= LONGEST:
                found.append(example)
                longest = max(longest, len(example.ids))
        return found


def again(batch: Batch, generator: torch.Generator) -> Batch:
    """A batch once more, with a little grain on its pictures and sounds."""
    made = dict(batch)
    if len(frames := batch["frames"]):
        level = 0.004 * torch.rand((), device=frames.device, generator=generator)
        grain = torch.randn(frames.shape, device=frames.device, generator=generator)
        made["frames"] = frames + level * grain
    if len(patches := batch["patches"]):
        level = 0.15 * torch.rand((), device=patches.device, generator=generator)
        grain = torch.randn(patches.shape, device=patches.device, generator=generator)
        made["patches"] = (patches + level * grain).half()
    return made
