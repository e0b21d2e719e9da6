"""The process of a rival: reports what it is, then answers one question a line, as JSON."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

Answer = Callable[[Mapping[str, Any]], str]
"""Answers {"before", "text", "images": [PNG files], "image_tokens", "sounds": [16 kHz WAV files],
"most", "layout"}: the fields of `question.Asked`."""


class Absent(Exception):
    """The rival is not installed; `args` are what is missing, and the command that installs it."""


def serve(start: Callable[[], tuple[Mapping[str, Any], Answer]]) -> None:
    """Serve until stdin ends.

    Args:
        start: makes what the rival is ({"revision", "versions", "budgets": whether it keeps to
            image_tokens; no if left out}) and how it answers; raises Absent.
    """
    # what libraries print goes to stderr: stdout is for our lines alone
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(reply: Mapping[str, Any]) -> None:
        print(json.dumps(reply), file=out, flush=True)

    try:
        about, answer = start()
    except Absent as absent:
        cause, remedy = absent.args
        return report({"absent": cause, "remedy": remedy})
    except Exception as error:
        return report(_failed(error))
    report(about)
    for line in sys.stdin:
        try:
            report({"given": answer(json.loads(line))})
        except Exception as error:  # whatever a rival meets is a result, and is reported
            report(_failed(error))


def _failed(error: Exception) -> dict[str, str]:
    return {"failed": f"{type(error).__name__}: {error}"}
