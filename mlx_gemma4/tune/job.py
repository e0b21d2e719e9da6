"""A whole run: model and lines in, a folder with an adapter out.

adapters.safetensors, adapter_config.json   the adapter, when all is done
log.jsonl, loss.png                         a line for each step; the same as a picture
replay.jsonl                                what `--replay auto` drew
training.safetensors                        until then: what --resume needs
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..chat.tokenizer import Tokenizer
from ..checkpoint import adapters
from ..checkpoint.adapters import Adapter
from ..errors import Gemma4Error
from ..hub import disk
from ..model.gemma4 import Gemma4
from . import lora, plot, state
from .data import Data, Writer, check
from .schedule import TuneSettings
from .sources import Line
from .state import Run
from .train import Trainer, TrainingStep

Form = Literal["own", "peft"]
"""What reads an adapter: this program, mlx-vlm and mlx-lm, or PEFT for transformers."""
LOG = "log.jsonl"
WRITTEN = (adapters.ADAPTER_SETTINGS, adapters.WEIGHTS, LOG, plot.FILE)
"""What a run leaves in its folder, where none of these may be before."""
SAVE_EVERY = 10
"""Steps between two states on the disk."""


@dataclass(frozen=True)
class Lines:
    """The lines of a run, by what they are for."""

    data: list[Line]
    replay: list[Line]
    held_out: list[Line]

    def named(self) -> dict[str, list[Line]]:
        """Those that are not empty."""
        found = {"data": self.data, "replay": self.replay, "held_out": self.held_out}
        return {name: lines for name, lines in found.items() if lines}


class TuningJob:
    """A run.

    Args:
        model: loaded, without an adapter.
        name: of the model, for the record.
        image_tokens: the most tokens of a picture; None for the model's own.
        longest: the most tokens of a conversation; None for all that the model has positions for.
    """

    def __init__(
        self,
        model: Gemma4,
        name: str,
        lines: Lines,
        settings: TuneSettings,
        image_tokens: int | None = None,
        longest: int | None = None,
    ) -> None:
        config = model.config
        lora.need_layers(model, settings.last_layers)
        self.model, self.settings, self.lines = model, settings, lines
        self._name, self._image_tokens = name, image_tokens
        longest = min(longest or 2**31, config.text_config.max_position_embeddings)
        self._writer = _writer(model, image_tokens or config.image_tokens, longest)
        self.sets: dict[str, Data] = {}

    def check(self, report: Callable[[str, int, int], None]) -> None:
        """Read every line once, except those of sets that were read.

        Raises:
            Gemma4Error: lines cannot be used.
        """
        for name, lines in self.lines.named().items():
            if name in self.sets:
                continue
            for done, data in check(lines, self._writer):
                self.sets[name] = data
                report(name, done, len(lines))

    def train(
        self,
        folder: Path,
        recompute: bool,
        together: int,
        resume: bool = False,
        form: Form = "own",
    ) -> Iterator[TrainingStep]:
        """Train, and write adapter and plot at the end; other arguments as of `Trainer`.

        Raises:
            Gemma4Error: the folder has another run, the disk is full, or a loss is not finite.
        """
        settings, lines = self.settings, self.lines
        named = f"{self._name} {self._image_tokens or ''}".strip()
        run = Run(settings, named, state.digest(lines.data, lines.replay))
        started = state.load(folder, run) if resume else None
        if started is None:
            refuse_old(folder)
        lora.add(
            self.model,
            settings.rank,
            settings.scale,
            settings.seed,
            settings.kind,
            settings.embedders,
            settings.last_layers,
        )
        get = self.sets.get
        trainer = Trainer(
            self.model,
            self.sets["data"],
            get("replay"),
            get("held_out"),
            settings,
            recompute,
            together,
        )
        if started is not None:
            try:
                trainer.restore(started)
            except state.UNREADABLE as error:
                raise state.damaged(folder, error) from error
        with disk.explained():
            folder.mkdir(parents=True, exist_ok=True)
            if started is None:  # so that a run can be resumed from its first line in the log on
                state.save(folder, trainer.state(0), run)
            _cut_log(folder / LOG, started.step if started else 0)
            for step in trainer.run(started.step if started else 0):
                _log(folder / LOG, step)
                if step.number % SAVE_EVERY == 0 and step.number < step.steps:
                    state.save(folder, trainer.state(step.number), run)
                yield step
            if form == "peft":
                adapters.write_peft(self.adapter(), folder, self._name)
            else:
                adapters.write(self.adapter(), folder)
            plot.write(folder / LOG)
            (folder / state.FILE).unlink(missing_ok=True)

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation."""
        return max(one.tokens for data in self.sets.values() for one in data.figures)

    def adapter(self) -> Adapter:
        """What is trained so far."""
        chosen = self.settings
        facts = {"base": self._name, "settings": asdict(chosen), "lines": len(self.sets["data"])}
        return lora.adapter_of(self.model, chosen.rank, chosen.scale, chosen.kind, facts)


def held_data(model: Gemma4, lines: list[Line]) -> Data:
    """Lines, checked, for measuring a model on.

    Raises:
        Gemma4Error: lines cannot be used.
    """
    longest = model.config.text_config.max_position_embeddings
    *_, (_, data) = check(lines, _writer(model, model.config.image_tokens, longest))
    return data


def _writer(model: Gemma4, image_tokens: int, longest: int) -> Writer:
    return Writer(model.config, Tokenizer.from_folder(model.folder), image_tokens, longest)


def refuse_old(folder: Path, *more: str) -> None:
    """Raise Gemma4Error where a folder has what a run would overwrite, or cannot be written."""
    disk.need_writable(folder)
    for name, remedy in (
        (state.FILE, "Continue it with --resume, or choose another folder (-o)."),
        *((name, "Choose another folder (-o), or remove it.") for name in (*WRITTEN, *more)),
    ):
        if (folder / name).exists():
            raise Gemma4Error(
                "folder_in_use",
                "The folder cannot be written",
                f"{folder} has {name} already.",
                remedy,
            )


def _log(path: Path, step: TrainingStep) -> None:
    line: dict[str, Any] = asdict(replace(step, seconds=round(step.seconds, 4)))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _cut_log(path: Path, step: int) -> None:
    """Keep the lines of the steps up to one: later ones are done again."""
    kept = []
    with suppress(FileNotFoundError):
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that was cut by the kill
                if json.loads(line)["number"] <= step:
                    kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")
