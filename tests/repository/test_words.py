"""Texts, docstrings, comments and names keep to the words of CONTRIBUTING.md."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.messages import messages

ROOT = Path(__file__).parents[2]
PYTHON = [
    path
    for folder in ("mlx_gemma4", "app", "tools", "bench", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Plain English has a better word for what is technical: cancel, resume, return, report, show,
# contain, repair, start. Somebody who speaks may say something.
BANNED = re.compile(
    r"\b(anew|mend\w*|tells?|told|gives?|gave|stands?|stood|lies?|begins?|began|begun)\b",
    re.IGNORECASE,
)
SAY = re.compile(r"\bsays?\b", re.IGNORECASE)
SPOKEN = (
    "say -v",
    "Neither say nor",
    "say something",
    "what you say",
    "that person says",
    "somebody says",
)


def plain(text: str) -> str:
    """A text without the phrases in which somebody speaks, and without names of the source."""
    for phrase in SPOKEN:
        text = text.replace(phrase, "")
    return re.sub(r"\{.*?\}", "", text)


def notes(source: str) -> Iterator[str]:
    """The docstrings and comments of a file, those of constants and fields too."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def names(source: str) -> Iterator[str]:
    """The names that a file makes: of functions, classes, parameters and variables."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.arg(name) | ast.Name(name, ast.Store()):
                yield name
            case ast.Attribute(_, name, ast.Store()) | ast.alias(_, str(name)):
                yield name


def test_every_text_is_plain_english() -> None:
    found = [
        f"{message.place}: {text}"
        for message in messages()
        for text in message.texts
        if BANNED.search(plain(text)) or SAY.search(plain(text))
    ]
    assert found == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_comments_and_names_are_plain_english(path: Path) -> None:
    source = path.read_text("utf-8")
    assert [note for note in notes(source) if BANNED.search(note)] == []
    words = {name: re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", name) for name in names(source)}
    files = {"tell"}  # what a file of Python is asked for its place
    assert [name for name, text in words.items() if BANNED.search(text) and name not in files] == []


def test_banned_words_are_found_wherever_they_are() -> None:
    source = '''
"""It gives."""
LIES = 1  # it stands
"""It lies here."""
class BeganThing:
    def tell_all(self, told: int) -> None:
        self.begun = mended = told
from a import b as anew
'''
    assert sorted(notes(source)) == ["# it stands", "It gives.", "It lies here."]
    found = {name for name in names(source)}
    assert found == {
        "LIES", "BeganThing", "tell_all", "self", "told", "begun", "mended", "anew"
    }  # fmt: skip
