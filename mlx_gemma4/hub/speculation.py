"""What `gemma4 bench --draft` measured on this machine, and what to do where nobody chose.

A drafter is used by itself only where it was measured to pay, and lookup where it costs nothing.
Knows no MLX.
"""

import json
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import Gemma4Error
from ..json_reader import known_object
from . import catalog, disk

PAYS, COSTS = 1.05, 0.95
"""A drafter pays with at least so much mean gain, and at least so much for each kind of work."""
COSTS_NOTHING = 0.97
"""Lookup is on where no kind of work becomes slower than this."""


@dataclass(frozen=True)
class MeasuredGain:
    """Tokens a second with proposals over those without, by kind of work.

    Attributes:
        machine: where that was measured.
        drafter: the folder of the drafter; empty for none.
        auto: with `draft="auto"`, drafter and lookup.
        lookup: with `draft="lookup"`.
    """

    machine: str
    drafter: str
    auto: Mapping[str, float]
    lookup: Mapping[str, float]

    @property
    def drafter_pays(self) -> bool:
        return bool(self.drafter) and mean(self.auto) >= PAYS and min(self.auto.values()) >= COSTS

    @property
    def lookup_is_free(self) -> bool:
        return bool(self.lookup) and min(self.lookup.values()) >= COSTS_NOTHING


def mean(gains: Mapping[str, float]) -> float:
    """The geometric mean; 0 of none."""
    return statistics.geometric_mean(gains.values()) if gains else 0.0


def file() -> Path:
    """Where measured gains are kept, by the folder of the model."""
    return disk.own_data("draft.json")


def measured(model: Path) -> MeasuredGain | None:
    """What was measured of a model on this machine; None where nothing was, or it is unreadable."""
    try:
        found = MeasuredGain(**known_object(file())[str(model.resolve())])
    except (KeyError, TypeError):
        return None
    return found if found.machine == platform.node() else None


def keep(model: Path, gain: MeasuredGain) -> None:
    """Keep what was measured of a model, or raise Gemma4Error: it cannot be written."""
    written = known_object(file()) | {str(model.resolve()): asdict(gain)}
    disk.save(file(), (json.dumps(written, indent=1) + "\n").encode())


def choose(
    model: Path, draft: str | int, drafter: Path | None, alone: bool = True
) -> tuple[Path | None, str | int]:
    """Choose the drafter to load with a model, and the `draft` of its sessions.

    Args:
        draft: "auto" where nobody chose otherwise.
        drafter: the folder that somebody chose; None for the catalogue's.
        alone: whether this computer has all of the model, as when it was measured what pays.

    Raises:
        Gemma4Error: a number of tokens is wanted, and there is no drafter; or there is no such one.
    """
    if draft in ("off", "lookup", 0):
        return None, draft
    if drafter is not None:
        return drafter, draft
    package = catalog.package_of(model)
    if draft != "auto":
        found = catalog.drafter_of(package)
        if found is None:
            raise Gemma4Error(
                "drafter_missing",
                "There is no drafter of this model on this machine",
                "A number of proposed tokens needs one.",
                "Download it (gemma4 models lists it) and name it with --drafter, or use lookup.",
            )
        return found, draft
    gain = measured(model)
    if gain is None:
        return None, "off"
    if alone and gain.drafter_pays and Path(gain.drafter).is_dir():
        return Path(gain.drafter), "auto"
    return None, "lookup" if gain.lookup_is_free else "off"
