"""Print every text that a user may see, in one list: `python -m docs.messages [PART]`.

The texts are read out of the source, not kept here: what errors and cards are called with, the help
of options and commands, the comments of settings, notices, and every other sentence in the code.
{...} is filled in when the text is shown.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("mlx_gemma4", "app")
# what a model is asked and shown in an examination, and doubles of tests
UNSEEN = (
    "evaluate/pages",
    "evaluate/sounds",
    "evaluate/tiny",
    "evaluate/haystack",
    "testing",
)
ERRORS = ("Gemma4Error", "Failed", "Problem")
KINDS = {
    **dict.fromkeys(ERRORS, "errors"),
    "Absent": "errors",
    "Finding": "errors",
    "Option": "help",
    "Command": "help",
    "command": "help",
    "add_argument": "help",
    "add_parser": "help",
    "_set": "settings",
}
"""By the name of a call, the part of the list that its texts are in."""


@dataclass(frozen=True)
class Message:
    """A text, or the title, cause and remedy of an error, and where the source has it."""

    kind: str
    place: str
    code: str
    texts: tuple[str, ...]


def messages(root: Path = ROOT) -> Iterator[Message]:
    """All messages, file by file."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            name = str(path.relative_to(root))
            if not any(part in name for part in UNSEEN):
                yield from of_source(path.read_text("utf-8"), name)


def of_source(source: str, name: str) -> Iterator[Message]:
    """The messages of one file, in its order."""
    tree = ast.parse(source)
    seen = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := KINDS.get(_name(node.func))) is not None:
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            code, texts = "", [text for value in values for text in _texts(value, seen)]
            if texts and _name(node.func) in ERRORS:
                code, *texts = texts
            texts = [text for text in texts if " " in text]
            if texts:
                yield Message(kind, f"{name}:{node.lineno}", code, tuple(texts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in seen:
            for text in _texts(node, seen):
                if is_sentence(text):
                    yield Message("other", f"{name}:{node.lineno}", "", (text,))


def is_sentence(text: str) -> bool:
    """Whether a text is prose: three words or more, one of them in small letters."""
    words = [word for word in text.split() if word.strip(".,:;!?()'\"").isalpha()]
    return len(words) >= 3 and any(word.islower() and len(word) > 1 for word in words)


def _texts(node: ast.AST, seen: set[int]) -> list[str]:
    """The texts within an expression; each is taken once."""
    if id(node) in seen:
        return []
    if isinstance(node, ast.JoinedStr):
        seen.update(id(part) for part in ast.walk(node))
        return ["".join(_piece(part) for part in node.values)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        seen.add(id(node))
        return [node.value]
    if isinstance(node, ast.Call) and _name(node.func) in KINDS:
        return []  # it is listed by itself
    return [text for child in ast.iter_child_nodes(node) for text in _texts(child, seen)]


def _piece(part: ast.AST) -> str:
    if isinstance(part, ast.FormattedValue):
        return f"{{{ast.unparse(part.value)}}}"
    return str(part.value) if isinstance(part, ast.Constant) else ""


def _name(function: ast.AST) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _docstrings(tree: ast.AST) -> set[int]:
    """The texts of a file that are statements of their own: nobody sees them."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(part) for node in statements if isinstance(node.value, ast.Constant)
            for part in ast.walk(node)}  # fmt: skip


def main(part: str = "") -> None:
    """Print them by kind; with a part of a path, those of these files alone."""
    found = [message for message in messages() if part in message.place]
    for kind in ("errors", "help", "settings", "other"):
        print(f"\n== {kind}")
        for message in found:
            if message.kind == kind:
                print(f"\n{message.place} {message.code}".rstrip())
                for text in message.texts:
                    print(f"  {' '.join(text.split())}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
