"""Reference numbers: the likeliest logits that transformers computed for some prompts.

A file is an .npz: `made_by`, `config` (a digest of config.json), `rule` (the mask rule) and for
each case `NAME.ids` (T,), `NAME.top` (T, K) ids, the likeliest first, and `NAME.logits` (T, K).
Its media are not in it: they are made of names (`random_checkpoint.py`), or are files of the
demonstration.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hub import disk
from ...model.attention import MaskRule, check_rule

SHIPPED = Path(__file__).parent / "reference"
KEPT = 64
"""Logits that are kept of each token: the likeliest."""
SCALE = 2**13
"""Logits are kept as multiples of 2 ** -13, and so are off by 6.1e-5 at most."""


@dataclass(frozen=True, eq=False)
class ReferenceCase:
    """A prompt's ids (T,), and of each token the likeliest ids and their logits (T, K)."""

    name: str
    ids: NDArray[np.int64]
    top: NDArray[np.int64]
    logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reference:
    """What another program computed for a model."""

    made_by: str
    config: str
    rule: MaskRule
    cases: tuple[ReferenceCase, ...]

    def save(self, file: Path) -> None:
        arrays: dict[str, Any] = {"made_by": self.made_by, "config": self.config, "rule": self.rule}
        for case in self.cases:
            arrays[f"{case.name}.ids"] = case.ids.astype(np.int32)
            arrays[f"{case.name}.top"] = case.top.astype(np.int32)
            whole = np.round(case.logits.astype(np.float64) * SCALE).astype(np.int32)
            arrays[f"{case.name}.logits"] = whole
        np.savez_compressed(written := BytesIO(), **arrays)
        disk.save(file, written.getvalue())


def likeliest(name: str, ids: NDArray[Any], logits: NDArray[np.float32]) -> ReferenceCase:
    """Keep of logits (T, vocabulary) what a reference keeps."""
    top = np.argsort(-logits, axis=-1, kind="stable")[:, :KEPT]
    kept = np.take_along_axis(logits, top, axis=-1)
    return ReferenceCase(name, np.asarray(ids, np.int64), top.astype(np.int64), kept)


def read(file: Path) -> Reference:
    with np.load(file) as held:
        rule = str(held["rule"])
        check_rule(rule)
        names = [name.removesuffix(".ids") for name in held.files if name.endswith(".ids")]
        cases = tuple(
            ReferenceCase(
                name,
                held[f"{name}.ids"].astype(np.int64),
                held[f"{name}.top"].astype(np.int64),
                (held[f"{name}.logits"] / SCALE).astype(np.float32),
            )
            for name in names
        )
        known: MaskRule = "forward" if rule == "forward" else "official"
        return Reference(str(held["made_by"]), str(held["config"]), known, cases)


def digest(folder: Path) -> str:
    """Identify a model by its config.json, whatever its weights are."""
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()[:16]


def recorded() -> Path:
    """The folder of the references that `gemma4 selftest --record` wrote on this machine."""
    return disk.own_data("references")


def of_model(folder: Path) -> Reference | None:
    """Find the reference of a model's folder: a shipped one, or one that was recorded here."""
    wanted = digest(folder)
    files = (file for at in (SHIPPED, recorded()) for file in sorted(at.glob("[!.]*.npz")))
    return next((found for found in map(read, files) if found.config == wanted), None)
