"""`ask --tools FILE`: the functions that the model may call. Calls are printed; nothing is run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error
from .options import Option

OPTION = Option(
    "--tools",
    "functions that the model may call, a JSON list as in OpenAI's chat completions; "
    "calls are printed, nothing is run",
    "FILE",
)
Tools = Sequence[Mapping[str, Any]]


def read(file: str | None) -> Tools:
    """Read the tools of a file; none without one.

    Raises:
        Gemma4Error: it cannot be read, or is no JSON list of tools.
    """
    if file is None:
        return ()
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise _unusable(file, f"{error.strerror}.", "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(file, f"It is not JSON ({error}).") from error
    from ..chat.tools import is_tool

    if not isinstance(content, list) or not all(map(is_tool, content)):
        raise _unusable(file, "It is not a list of functions with a name and a schema.")
    return content


def _unusable(
    file: str,
    cause: str,
    remedy: str = 'Write [{"type": "function", "function": {"name": ..., "parameters": ...}}].',
) -> Gemma4Error:
    return Gemma4Error("tools_unusable", f"The tools in {file} cannot be used", cause, remedy)
