"""mlx-gemma4, as `gemma4 tune` trains it: `Trainer._step` on the conversations that are named."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import side_ours
from items import read

from mlx_gemma4.chat.render import Prompt
from mlx_gemma4.checkpoint import adapters
from mlx_gemma4.tune import lora
from mlx_gemma4.tune.data import Data, Example, LineFigures
from mlx_gemma4.tune.schedule import TuneSettings
from mlx_gemma4.tune.sources import Line
from mlx_gemma4.tune.train import Trainer


class Side(side_ours.Side):
    """A model that is trained."""

    def start(
        self, file: str, rank: int, scale: float, steps: int, checkpoints: bool, together: int
    ) -> dict[str, int]:
        """Put an adapter on the model; `first.safetensors` beside the file has its numbers."""
        settings = TuneSettings(rate=1e-3, rank=rank, scale=scale, steps=steps)
        lora.add(self.model, rank, scale, settings.seed)
        first = lora.adapter_of(self.model, rank, scale, "lora", {})
        mx.save_safetensors(str(Path(file).parent / "first.safetensors"), first.tensors)
        items = read(Path(file))
        data = Data([Line(str(n), Path(), {}) for n in range(len(items))], _Held(file))  # type: ignore[arg-type]
        data.figures = [LineFigures(len(item.ids), 0, 0, 0.0) for item in items]
        self.trainer = Trainer(self.model, data, None, None, settings, checkpoints, together)
        return {"numbers": sum(value.size for value in lora.trained(self.model).values())}

    def train(self, numbers: list[int], rate: float) -> float:
        """Learn from these conversations in one step; the loss a token."""
        return self.trainer._step([("data", number) for number in numbers], rate)[0]

    def save(self, folder: str) -> None:
        settings = self.trainer._settings
        own: Any = (settings.rank, settings.scale, "lora", {})
        adapters.write(lora.adapter_of(self.model, *own), Path(folder))


class _Held:
    """What `Data` asks for the examples of a line."""

    def __init__(self, file: str) -> None:
        self.items = read(Path(file))

    def examples(self, line: Line) -> list[Example]:
        item = self.items[int(line.place)]
        prompt = Prompt(item.ids, item.pictures, [], item.clips)
        return [Example(prompt, ((item.earlier, len(item.ids)),))]
