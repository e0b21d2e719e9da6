"""`ask --tools FILE`, the functions that the model may call, and `ask --schema FILE`.

Calls are printed; nothing is run.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Gemma4Error
from ..hub import disk
from .options import Option

OPTION = Option(
    "--tools",
    "functions that the model may call, a JSON list as in OpenAI's chat completions; "
    "calls are printed, nothing is run",
    "FILE",
)
SCHEMA = Option("--schema", "a JSON schema that the answer keeps to", "FILE")
Tools = Sequence[Mapping[str, Any]]


def read(file: str | None) -> Tools:
    """Read the tools of a file; none without one. Raises Gemma4Error: it holds no tools."""
    if file is None:
        return ()
    wanted = 'Write [{"type": "function", "function": {"name": ..., "parameters": ...}}].'
    content = _json(file, "tools", wanted)
    from ..chat.tools import is_tool

    if not isinstance(content, list) or not all(map(is_tool, content)):
        cause = "It is not a list of functions with a name and a schema."
        raise _unusable(file, "tools", cause, wanted)
    return content


def read_schema(file: str | None) -> Mapping[str, Any] | None:
    """Read the schema of a file; None without one. Raises Gemma4Error: none can be kept to."""
    if file is None:
        return None
    wanted = 'Write {"type": "object", "properties": ...}.'
    content = _json(file, "schema", wanted)
    if not isinstance(content, dict):
        raise _unusable(file, "schema", "It is not a JSON object.", wanted)
    from ..chat.grammar import reply_grammar

    reply_grammar(content, (), (), {})  # before the model is loaded
    return content


def _json(file: str, what: str, wanted: str) -> Any:
    try:
        return json.loads(disk.expanded(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _unusable(file, what, f"{error.strerror}.", "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(file, what, f"It is not JSON ({error}).", wanted) from error


def _unusable(file: str, what: str, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error(f"{what}_unusable", f"The {what} in {file} cannot be used", cause, remedy)
