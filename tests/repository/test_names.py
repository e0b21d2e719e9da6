"""Names of files and modules in the documentation and in docstrings are those of the project."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("mlx_gemma4", "app", "tools", "bench", "docs", "tests")
PYTHON = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("[bdt]*/**/*.md")), ROOT / "Package.toml"]
OTHERS = re.compile(r"gemma4_unified|_utils\.py$|^name\.py$")  # of transformers; an example
FILE = re.compile(r"`([\w./*-]+\.py)`|(?<![\w`/])((?:mlx_gemma4|app|tools|bench)/[\w/]+\.py)")
DOTTED = re.compile(r"\b((?:mlx_gemma4|app)(?:\.[a-z_]\w*)+)\b")


def notes(path: Path) -> str:
    """What a file has for a reader: a page as it is, docstrings and comments of a program."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr)]
    docstrings = [str(n.value.value) for n in nodes if isinstance(n.value, ast.Constant)]
    return "\n".join([*docstrings, *re.findall(r"#.*", text)])


@pytest.mark.parametrize("page", [*PAGES, *PYTHON], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_is_named_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    known = [str(path.relative_to(ROOT)) for path in (*PYTHON, *ROOT.glob("*.py"))]
    for names in FILE.findall(notes(page)):
        name = next(filter(None, names))
        here = any(f"/{one}".endswith(f"/{name}") for one in known)
        assert here or OTHERS.search(name) or "*" in name, name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_that_is_named_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    for name in DOTTED.findall(page.read_text("utf-8")):
        parts = name.split(".")
        while parts and not _module(parts):
            parts.pop()
        rest = name.split(".")[len(parts) :]
        source = (_module(parts) or ROOT / "none").read_text("utf-8")
        assert len(rest) <= 2 and all(re.search(rf"\b{one}\b", source) for one in rest), name


def _module(parts: list[str]) -> Path | None:
    path = ROOT.joinpath(*parts)
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


MEMBER = re.compile(r"`(?:[\w.]+\.)?([A-Za-z]\w+)\.(\w+)(?:\(\))?`")
ELSEWHERE = re.compile(
    r"^(mx|np|nn|mlx|time|sys|os|torch|pydoc_data|jinja2|ast|asyncio|Request|WebSocket|NAME)\."
    r"|^(session|item)\.\w+$|\.(py|md|jsonl?|csv|toml|txt|safetensors|npz|png|wav)$"
)


def _members() -> dict[str, set[str]]:
    """The words of a module or folder, by its name; a class has those of its folder."""
    found: dict[str, set[str]] = {}
    for path in PYTHON:
        text = path.read_text("utf-8")
        words = set(re.findall(r"\w+", text))
        for owner in (path.stem, path.parent.name):
            found.setdefault(owner, set()).update(words)
        for name in re.findall(r"^class (\w+)", text, re.M):
            found[name] = found[path.parent.name]
    return found


MEMBERS = _members()


@pytest.mark.parametrize("page", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_member_that_a_docstring_names_is_where_it_says(page: Path) -> None:
    text = page.read_text("utf-8")
    told = notes(page)
    for owner, name in MEMBER.findall(told):
        whole = f"{owner}.{name}"
        used = text.count(whole) > told.count(whole)  # of a variable or a parameter
        assert used or ELSEWHERE.search(whole) or name in MEMBERS.get(owner, ()), whole
