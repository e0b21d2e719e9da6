"""Does the speech gate cost answers? The same sound through it, and ending with the speech.

    python bench/gate.py [--items 60] [--model FOLDER] [--seed N]

Receipts with a spoken question, and spoken digits, of the tiny model's world and voices. Each sound
is heard twice by one worker: as it was made, which ends with the speech; and with quiet around it
through `runtime.live.Live` and `SpeechGate`, as `gemma4 listen` and the terminal program hear it.
Greedy; an answer counts if it is the wanted text, exactly. Wanted: the interval of the difference
includes 0.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mlx_gemma4.capture.speechgate import SpeechGate  # noqa: E402
from mlx_gemma4.evaluate.statistics import paired, share  # noqa: E402
from mlx_gemma4.evaluate.tiny.tasks import Exchange, World  # noqa: E402
from mlx_gemma4.events import Done, Token  # noqa: E402
from mlx_gemma4.media.audio import RATE, frames  # noqa: E402
from mlx_gemma4.runtime.client import Client  # noqa: E402
from mlx_gemma4.runtime.commands import AddImage, AddText, Load, Open, Reply  # noqa: E402
from mlx_gemma4.runtime.live import EverythingGate, Gate, Live, LiveObserver  # noqa: E402
from mlx_gemma4.runtime.reports import Failed  # noqa: E402
from mlx_gemma4.runtime.worker import Worker  # noqa: E402
from tools.tiny.first_world import FirstWorld  # noqa: E402

QUIET = 1.2  # seconds before and after the speech,
LEVEL = 1e-4  # and the root mean square of their noise


class Played:
    """A sound as a source that never waits."""

    name, level, silent_seconds = "benchmark", 0.0, 0.0

    def __init__(self, sound: np.ndarray) -> None:
        self._frames = iter(frames(sound))

    def read(self, timeout: float) -> np.ndarray | None:
        """The next frame; None at the end."""
        frame = next(self._frames, None)
        return None if frame is None else frame[None]

    def close(self) -> None:
        """Do nothing."""


class Asking(LiveObserver):
    """Asks for the reply when the first utterance is over."""

    def __init__(self, client: Client) -> None:
        self._client, self._asked = client, False

    def ended(self) -> None:
        """Ask, once."""
        if not self._asked:
            self._client.send(Reply(48, 0.0))
        self._asked = True

    def lost(self, failed: Failed) -> None:
        raise failed.error()


def answer(client: Client, item: Exchange, sound: np.ndarray, gate: Callable[[], Gate]) -> str:
    """What the model answers to an item whose sound comes through a gate."""
    wanted: list[object] = [Open()]
    if item.drawing is not None:
        wanted.append(AddImage(item.drawing.image, item.budget))
    if item.question:
        wanted.append(AddText(item.question))
    for command in wanted:
        list(client.until(client.send(command)))  # type: ignore[arg-type]
    live = Live(client, lambda: Played(sound), gate, Asking(client))
    said = ""
    while (report := client.read(60)) is not None:
        if isinstance(report.event, Failed):
            raise report.event.error()
        if isinstance(report.event, Token):
            said += report.event.text
        if isinstance(report.event, Done):
            live.close()
            return said
    return said  # the gate found no speech: nothing was asked


def in_quiet(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sound with a microphone's quiet before and after it."""
    quiet = LEVEL * rng.standard_normal((2, round(QUIET * RATE)))
    return np.concatenate([quiet[0], sound, quiet[1]]).astype(np.float32)


def items(kind: str, count: int, seed: int) -> Iterator[Exchange]:
    """The first turns of conversations."""
    tasks = FirstWorld(seed, World())
    for _ in range(count):
        yield getattr(tasks, kind)()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument("--items", type=int, default=60, help="items of each kind")
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print("| items | n | ends with the speech | through the gate | difference | only one right |")
    print("|---|---|---|---|---|---|", flush=True)
    with Worker() as worker:
        list(worker.until(worker.send(Load(options.model))))
        for name, kind in (("receipt + spoken question", "mixed"), ("spoken digits", "digits")):
            bare, gated = [], []
            for number, item in enumerate(items(kind, options.items, options.seed), 1):
                assert item.sound is not None
                bare.append(answer(worker, item, item.sound, EverythingGate) == item.answer)
                noisy = in_quiet(item.sound, rng)
                gated.append(answer(worker, item, noisy, SpeechGate) == item.answer)
                print(f"\r{name}: {number} of {options.items}", end="", file=sys.stderr)
            print(file=sys.stderr)
            gap = paired(gated, bare)
            cells = f"{share(bare):.2f} | {share(gated):.2f} | {gap.estimate:+.3f}"
            lone = sum(a and not b for a, b in zip(bare, gated, strict=True))
            other = sum(b and not a for a, b in zip(bare, gated, strict=True))
            print(f"| {name} | {options.items} | {cells} | {lone}, {other} |", flush=True)


if __name__ == "__main__":
    main()
