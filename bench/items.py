"""Questions with pictures and sounds, in a file that both sides read."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Item:
    """A conversation up to the reply that is asked for.

    `ids` holds placeholders for `pictures` (patches (n, 6912) in [0, 1], positions (n, 2)) and
    `clips` (frames (n, 640)), in order; its first `earlier` ids are the turns before the last one.
    """

    question: str
    answer: str
    earlier: int
    ids: list[int]
    pictures: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)

    def parts(self, image_id: int, audio_id: int) -> tuple["Item", "Item"]:
        """The earlier turns, and the last one, each with its own media."""
        at = self.earlier
        pictures = _runs(self.ids[:at], image_id)
        clips = _runs(self.ids[:at], audio_id)
        first = (self.ids[:at], self.pictures[:pictures], self.clips[:clips])
        last = (self.ids[at:], self.pictures[pictures:], self.clips[clips:])
        return Item("", "", 0, *first), Item("", "", 0, *last)


def write(file: Path, items: Sequence[Item]) -> None:
    """Write items; pixels as the bytes that they were before they were divided by 255."""
    arrays = {}
    heads = []
    for n, item in enumerate(items):
        heads.append(
            [item.question, item.answer, item.earlier, len(item.pictures), len(item.clips)]
        )
        arrays[f"{n}.ids"] = np.array(item.ids, np.int32)
        for k, (patches, positions) in enumerate(item.pictures):
            arrays[f"{n}.patches.{k}"] = pixels = np.rint(patches * 255).astype(np.uint8)
            assert np.abs(pixels / np.float32(255) - patches).max() < 1e-6
            arrays[f"{n}.positions.{k}"] = positions
        for k, frames in enumerate(item.clips):
            arrays[f"{n}.frames.{k}"] = frames
    np.savez_compressed(file, heads=json.dumps(heads), **arrays)


@functools.lru_cache(maxsize=1)
def read(file: Path) -> list[Item]:
    with np.load(file) as arrays:
        return [
            Item(
                question,
                answer,
                earlier,
                arrays[f"{n}.ids"].tolist(),
                [
                    (arrays[f"{n}.patches.{k}"] / np.float32(255), arrays[f"{n}.positions.{k}"])
                    for k in range(pictures)
                ],
                [arrays[f"{n}.frames.{k}"] for k in range(clips)],
            )
            for n, (question, answer, earlier, pictures, clips) in enumerate(
                json.loads(str(arrays["heads"]))
            )
        ]


def _runs(ids: list[int], placeholder: int) -> int:
    """How many runs of a placeholder there are; pictures and clips are never adjacent."""
    here = np.array(ids) == placeholder
    return int((here & ~np.concatenate([[False], here[:-1]])).sum())
