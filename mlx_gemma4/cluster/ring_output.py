"""What MLX's ring prints by itself, in C++, about connections that end: nobody needs to read it."""

import os
import subprocess
import sys


def hide() -> None:
    """Pass what C++ prints on stderr through grep; Python's own goes to the terminal as before."""
    try:
        grep = subprocess.Popen(
            ["grep", "--line-buffered", "-v", r"^\[ring\]"],
            stdin=subprocess.PIPE,
            stdout=os.dup(2),
            start_new_session=True,
        )
    except OSError:
        return
    assert grep.stdin is not None
    terminal = os.dup(2)
    sys.stderr.flush()
    os.dup2(grep.stdin.fileno(), 2)
    grep.stdin.close()
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")
