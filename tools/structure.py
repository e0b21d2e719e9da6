"""Measure the structure of the project: `python -m tools.structure`; status 1 over a limit.

Parts are the first level of mlx_gemma4, and app. Imports are counted once for each two parts, in
each direction; those for type checkers alone count too.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("mlx_gemma4", "app")
PARTS, IMPORTS, FILE_LINES = 27, 120, 400
# Ratchets: lower them when lines go. The goals of lines and model are 23,999 and 1,250.
LINES, EVALUATE_LINES, MODEL_LINES = 38_690, 4_997, 1_706
# Rooms that came after the goal was set: they are counted beside it.
LATER = ("serve", "tune", "cluster")


@dataclass(frozen=True)
class Measure:
    """A figure, the most that it may be, and what it consists of where that is worth reading."""

    name: str
    value: int
    limit: int
    details: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


def measures(root: Path = ROOT) -> list[Measure]:
    """Measure the packages of a folder, which must be importable."""
    files = {path: path.read_text("utf-8") for name in PACKAGES for path in python(root / name)}
    lines = {path.relative_to(root): text.count("\n") for path, text in files.items()}
    graph = grimp.build_graph(*PACKAGES)
    edges = [
        (one, other)
        for one in graph.modules
        for other in graph.find_modules_directly_imported_by(one)
    ]
    parts = {part_of(name) for name in graph.modules} - {PACKAGES[0]}
    later_parts = {f"{PACKAGES[0]}.{room}" for room in LATER}
    between = {
        (one, other)
        for one, other in ((part_of(a), part_of(b)) for a, b in edges)
        if one != other and not later_parts & {one, other}
    }
    later = sum(_within(lines, f"{PACKAGES[0]}/{room}") for room in LATER)
    long = [f"{path} ({count})" for path, count in lines.items() if count > FILE_LINES]
    return [
        Measure("parts", len(parts), PARTS),
        Measure("imports without later rooms", len(between), IMPORTS),
        _list("circles of files", (" ".join(circle) for circle in circles(edges))),
        _list("class names used twice", repeated_classes(files, root)),
        _list(f"files over {FILE_LINES} lines", long),
        Measure("lines without later rooms", sum(lines.values()) - later, LINES),
        Measure("lines of evaluate", _within(lines, "mlx_gemma4/evaluate"), EVALUATE_LINES),
        Measure(
            "lines of model without config",
            _within(lines, "mlx_gemma4/model") - lines[Path("mlx_gemma4/model/config.py")],
            MODEL_LINES,
        ),
    ]


def python(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and of those within it, in order."""
    return (path for path in sorted(folder.rglob("[!.]*.py")) if "__pycache__" not in path.parts)


def part_of(module: str) -> str:
    """The part that a module belongs to; that of mlx_gemma4 itself is "mlx_gemma4"."""
    package, *rest = module.split(".")
    return ".".join([package, *rest[:1]]) if package == PACKAGES[0] else package


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of modules each of which imports, over others, every other one (R. Tarjan, 1972)."""
    imports = defaultdict(list)
    for one, other in edges:
        imports[one].append(other)
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []
    found = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        open_.append(module)
        for other in imports[module]:
            if other not in order:
                visit(other)
            if other in open_:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            group = open_[open_.index(module) :]
            del open_[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in list(imports):
        if module not in order:
            visit(module)
    return sorted(found)


def repeated_classes(files: dict[Path, str], root: Path) -> list[str]:
    """The classes of the same name, with the files in which they are."""
    places = defaultdict(list)
    for path, text in files.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(root)))
    return [f"{name}: {', '.join(of)}" for name, of in sorted(places.items()) if len(of) > 1]


def _list(name: str, found: Iterable[str]) -> Measure:
    details = tuple(found)
    return Measure(name, len(details), 0, details)


def _within(lines: dict[Path, int], folder: str) -> int:
    return sum(count for path, count in lines.items() if path.is_relative_to(folder))


def main() -> int:
    """Print the table and what breaks a limit."""
    found = measures()
    print(f"{'':32}{'now':>8}{'limit':>8}")
    for measure in found:
        mark = "" if measure.holds else "  too many"
        print(f"{measure.name:32}{measure.value:8,}{measure.limit:8,}{mark}")
        for detail in measure.details:
            print(f"    {detail}")
    return 0 if all(measure.holds for measure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
