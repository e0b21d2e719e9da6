"""Starts the terminal program: what `gemma4` without arguments does.

What any library prints goes to the log while the program has the screen.
"""

import os
import sys
from pathlib import Path

from mlx_gemma4.runtime.subprocess_worker import EngineProcess

from . import settings
from .conversation.store import ConversationStore
from .workspace import LOG

LONGEST = 4 * 2**20
"""Bytes of a log that goes on; a longer one begins anew."""


def main() -> int:
    """Run the program until the user ends it."""
    # textual-image asks the terminal what it can draw when it is imported: before Textual has it
    import textual_image.widget  # noqa: F401

    from .app import TerminalApp

    folder = settings.folder()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    redirect(log)
    app = TerminalApp(EngineProcess(log), ConversationStore(), folder)
    app.run()
    return app.return_code or 0


def redirect(log: Path) -> None:
    """Send file descriptor 2 to the log, and give Textual the terminal by another one.

    Textual's driver writes to `sys.__stderr__`; PortAudio, MLX and the like to descriptor 2.
    """
    if log.is_file() and log.stat().st_size > LONGEST:
        log.replace(log.with_suffix(".old.log"))
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    sys.__stderr__ = terminal  # type: ignore[misc]
