"""What `gemma4 bench` measured: as a file, as a table, and beside what somebody else measured."""

import datetime
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Gemma4Error
from ..evaluate import surroundings
from ..evaluate.question import Table
from ..hub import disk

if TYPE_CHECKING:
    from ..model.gemma4 import Gemma4

FORM = "gemma4 bench 1"
"""Names the form of the file, so that an older or newer one is recognized."""
SPEED, LIVE, WAIT, MEMORY = "tok/s", "x speech", "s", "GB"
"""Units: GB are 10^9 bytes, "x speech" is seconds of sound that are heard in a second."""
_MORE_IS_BETTER = (SPEED, LIVE)


@dataclass(frozen=True)
class Figure:
    """What was measured at one context: a value a round."""

    name: str
    context: int
    unit: str
    values: list[float]


@dataclass(frozen=True)
class Result:
    """Figures and what they depend on; its fields are the keys of the file.

    Attributes:
        package: the model's name in Package.toml, empty where it has none.
        versions: program -> version.
        around: the machine, and how it was when this was measured.
        asked: how it was measured: two results compare where this is the same.
    """

    model: str
    package: str
    recipe: str
    revision: str
    versions: Mapping[str, str]
    around: Mapping[str, Any]
    asked: Mapping[str, Any]
    rounds: int
    figures: Sequence[Figure]


def around(model: "Gemma4") -> dict[str, Any]:
    """Report what the figures of a loaded model depend on besides it, before they are measured."""
    import mlx.core as mx

    norm = model.language_model.model.norm.weight
    return {
        "machine": surroundings.machine(),
        "device": mx.default_device().type.name,
        "activations": str(norm.dtype).removeprefix("mlx.core."),
        "weights, GB": sum(value.nbytes for value in model.tensors().values()) / 1e9,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "load average": round(os.getloadavg()[0], 2),
        "environment": surroundings.environment(),
    }


def save(result: Result, file: Path) -> None:
    text = json.dumps({"form": FORM, **asdict(result)}, indent=1, ensure_ascii=False)
    with disk.explained():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")


def load(file: Path) -> Result:
    """Read a result, or raise Gemma4Error: there is none, or it is none of ours."""
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.pop("form") != FORM:
            raise ValueError("it is of another form")
        figures = [Figure(**one) for one in content["figures"]]
        result = Result(**{**content, "figures": figures})
        if not all(value > 0 for figure in figures for value in figure.values):
            raise ValueError("a figure is not above 0")
        table(result)  # raises where something cannot be shown
        about(result)
        return result
    except OSError as error:
        raise Gemma4Error(
            "results_unreadable",
            "The result cannot be read",
            f"{file}: {error.strerror}.",
            "Check the file's name.",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Gemma4Error(
            "results_unusable",
            "The result is not usable",
            f"{file} was not written by this version of `gemma4 bench` ({error}).",
            "Measure again: gemma4 bench --json FILE.",
        ) from error


def table(result: Result) -> Table:
    """The medians, with the least and the most of the rounds, of each figure by context."""
    contexts = sorted({figure.context for figure in result.figures})
    lines: dict[tuple[str, str], dict[int, str]] = {}
    for figure in result.figures:
        lines.setdefault((figure.name, figure.unit), {})[figure.context] = spread(figure.values)
    return Table(
        "",
        ["", "unit", *(f"{context:,} tokens" for context in contexts)],
        [[*line, *(cells.get(c, "no room") for c in contexts)] for line, cells in lines.items()],
    )


def compared(one: Result, other: Result) -> Table:
    """Set two results beside each other, where both have a figure.

    The ratio is that of the medians. One is called better only if its worst round is better than
    the other's best.

    Raises:
        Gemma4Error: they are of different models or were not measured alike.
    """
    _check(one, other)
    theirs = {(figure.name, figure.context): figure for figure in other.figures}
    lines = []
    for figure in one.figures:
        if (beside := theirs.get((figure.name, figure.context))) is not None:
            a, b = figure.values, beside.values
            ratio = statistics.median(b) / statistics.median(a)
            lines.append(
                [figure.name, f"{figure.context:,}", figure.unit, spread(a), spread(b)]
                + [f"{ratio:.2f}", _better(a, b, figure.unit in _MORE_IS_BETTER)]
            )
    if not lines:
        raise Gemma4Error(
            "results_not_comparable",
            "The results have nothing in common",
            "They were measured at different contexts.",
            "Measure again with the same --contexts.",
        )
    return Table("", ["", "context", "unit", "A", "B", "B / A", "better"], lines)


def differing(one: Result, other: Result) -> Table:
    """What differs between two results, besides what was measured."""
    a, b = _described(one), _described(other)
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    rows = [[name, a.get(name, "none"), b.get(name, "none")] for name in names]
    return Table("", ["", "A", "B"], rows)


def about(result: Result) -> list[str]:
    return [f"{name}: {value}" for name, value in _described(result).items()]


def spread(values: Sequence[float], form: str = ".4g") -> str:
    """The median, with the least and the most."""
    middle, least, most = (
        f"{v:{form}}" for v in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least} to {most})"


def _better(a: Sequence[float], b: Sequence[float], more: bool) -> str:
    if not more:
        a, b = [-value for value in a], [-value for value in b]
    return "A" if min(a) > max(b) else "B" if min(b) > max(a) else "-"


def _described(result: Result) -> dict[str, str]:
    values = {
        "model": result.model,
        "recipe": result.recipe,
        "revision": result.revision,
        **result.around,
        **result.versions,
        "KV bits": result.asked.get("kv_bits"),
        "rounds": result.rounds,
    }
    return {name: _written(value) for name, value in values.items()}


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items()) or "none"
    return "as computed" if value is None else str(value)


def _check(one: Result, other: Result) -> None:
    alike = (one.package or one.model) == (other.package or other.model)
    if one.revision != other.revision and (not alike or one.recipe != other.recipe):
        raise Gemma4Error(
            "results_not_comparable",
            "The results are of different models",
            f"One is of {_model(one)}, the other of {_model(other)}.",
            "Compare results of the same model in the same recipe.",
        )
    names = {*one.asked, *other.asked}
    if other_way := [n for n in sorted(names) if one.asked.get(n) != other.asked.get(n)]:
        others = [
            f"{n} is {one.asked.get(n)} here and {other.asked.get(n)} there" for n in other_way
        ]
        raise Gemma4Error(
            "results_not_comparable",
            "The results were not measured alike",
            "; ".join(others) + ".",
            "Measure again with the same options.",
        )


def _model(result: Result) -> str:
    return f"{result.model} ({result.recipe}, {result.revision})"
