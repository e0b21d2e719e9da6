"""Starts the terminal program: what `gemma4` without arguments does.

What any library prints goes to the log while the program has the screen.
"""

import logging
import os
import sys
from pathlib import Path

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk
from mlx_gemma4.runtime.commands import Hosts
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker

from . import settings
from .conversation import private_files
from .conversation.store import ConversationStore
from .server import MakeServer
from .workspace import LOG, Workspace

LONGEST = 4 * 2**20
"""Bytes of a log that is continued; a longer one is put aside."""
BLOCKS = "GEMMA4_PICTURES"
"""The variable that asks for pictures in half blocks, which any terminal draws."""


def main(
    model: str | None = None, hosts: Hosts | None = None, make_server: MakeServer | None = None
) -> int:
    """Run the program until the user ends it.

    Args:
        model: to open instead of the one in the settings, this time.
        hosts: other computers that hold a part of the model.
        make_server: makes the server of `/serve`.

    Raises:
        Gemma4Error: there is no terminal, nowhere to write, or the program has a defect.
    """
    need_terminal()
    os.umask(0o077)  # conversations, logs and traces hold what the user said
    folder, store = settings.folder(), ConversationStore()
    log = folder / LOG
    with private_files.program_folders(folder, store.folder):
        stderr = redirect(log)
    try:
        ask_terminal()
        from .app import TerminalApp

        worker = SubprocessWorker(log, hosts)
        app = TerminalApp(Workspace(worker, store, folder, model=model, make_server=make_server))
        try:
            app.run()
        finally:
            app.end_worker()
        if app.return_code is None or app.return_code == 1:  # nobody ended it
            raise _failed(app._exception, log)
        return app.return_code
    except BaseException:  # restored for an error alone: the log has the rest
        os.dup2(stderr, 2)
        raise


def _failed(error: Exception | None, log: Path) -> Gemma4Error:
    what = f"{type(error).__name__}: {error}. " if error is not None else ""
    return Gemma4Error(
        "internal_error",
        "The program failed",
        f"{what}The traceback is in {log}.",
        "Start it again: what was said is kept. Report what the log has.",
    )


def need_terminal() -> None:
    """Check that there is a terminal to read from and to draw on.

    Raises:
        Gemma4Error: there is none.
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise Gemma4Error(
            "terminal_missing",
            "There is no terminal",
            "The program needs one for its keys and its screen.",
            'In a pipe or a script: gemma4 ask "QUESTION".',
        )
    if 0 in os.get_terminal_size(1):  # a pseudo-terminal that nobody has given a size
        os.environ.setdefault("COLUMNS", "80")
        os.environ.setdefault("LINES", "24")


def ask_terminal() -> None:
    """Have textual-image ask the terminal what it can draw, which it does when it is imported.

    Before Textual has the terminal. One that does not answer, or answers nonsense, gets blocks.
    """
    try:
        import textual_image.widget  # noqa: F401
    except Exception as error:
        logging.getLogger(__name__).warning("pictures are drawn as blocks: %s", error)
        os.environ[BLOCKS] = "blocks"
        from textual_image import _terminal

        # the size that it takes where there is no answer: the next import does not ask
        _terminal.get_cell_size._result = _terminal.CellSize(10, 20)  # type: ignore[attr-defined]


def redirect(log: Path) -> int:
    """Send file descriptor 2 to the log, and let Textual have the terminal by another one.

    Textual's driver writes to `sys.__stderr__`; PortAudio, MLX and the like to descriptor 2, which
    is no terminal after `gemma4 2> FILE`.

    Returns:
        A descriptor of what was 2 before: what ends the program is reported there.
    """
    if log.is_file() and log.stat().st_size > LONGEST:
        log.replace(log.with_suffix(".old.log"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    file = os.open(log, flags, disk.PRIVATE)
    disk.restrict(log)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    before = os.dup(2)
    os.dup2(file, 2)
    os.close(file)
    sys.__stderr__ = terminal  # type: ignore[misc]
    logging.getLogger("textual_image").setLevel(logging.ERROR)  # a terminal may be silent
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return before
